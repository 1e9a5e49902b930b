"""The library and its functions, as `include/redmux.h` declares them.

Handles are plain `c_uint64`: a struct of one 64-bit number is passed like the number. `functions.txt` declares them, a line
each, and is held against the header by a test. What never waits is called with the interpreter's lock held (`PyDLL`), which
costs half as much.
"""

import ctypes
import os
import platform
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from ._errors import LibraryError

ABI_VERSION = 1


class Bytes(ctypes.Structure):
    """`redmux_bytes`."""

    _fields_ = [("data", c_void_p), ("len", c_size_t)]


# One letter a type, in the lines of functions.txt: name, result, arguments.
LETTERS: dict[str, Any] = {
    "H": c_uint64, "U": c_uint64, "P": c_char_p, "N": c_size_t, "T": c_int64, "I": c_int32, "W": c_uint32, "V": c_void_p,
    "O": POINTER(c_uint64), "E": POINTER(c_void_p), "C": POINTER(c_size_t), "J": POINTER(c_int32), "A": c_void_p, "B": Bytes, "-": None,
}
_lines = (Path(__file__).parent / "functions.txt").read_text().splitlines()
# name: (result, arguments)
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    name: (LETTERS[result], [LETTERS[letter] for letter in "".join(arguments)])
    for name, result, *arguments in map(str.split, _lines)
}

# What waits, or may: the interpreter's lock is let go meanwhile. (inbox_take waits only where its timeout is not 0.)
WAITING = {"client_close", "client_wait", "inbox_take", "inbox_close", "shutdown"} | {
    name for name in FUNCTIONS if name.endswith("_wait")
}


def candidates() -> list[Path]:
    """Where the library is looked for, in this order."""
    named = os.environ.get("REDMUX_LIBRARY")
    if named:
        return [Path(named).resolve()]  # a name without a slash would be looked for elsewhere
    file = {"Darwin": "libredmux.dylib", "Windows": "redmux.dll"}.get(platform.system(), "libredmux.so")
    here = Path(__file__).resolve().parent
    paths = [here / file]
    for folder in here.parents:
        if (folder / "include" / "redmux.exports").exists():  # redmux' own checkout
            paths += [folder / "target" / profile / file for profile in ("release", "debug")]
    return paths


def check_abi(found: int, where: object) -> None:
    """An ABI of another number cannot be called."""
    if found != ABI_VERSION:
        raise LibraryError(f"{where} has ABI {found}, and this package was made for ABI {ABI_VERSION}: install matching versions")


class Library:
    """The loaded library: `lib.client_post(...)` is `redmux_client_post(...)`; `lib.poll` takes without waiting."""

    def __init__(self, path: Path) -> None:
        releasing, holding = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
        check_abi(self._declare(releasing, "abi_version", c_uint32, [])(), path)
        self.path = path
        for name, (result, arguments) in FUNCTIONS.items():
            setattr(self, name, self._declare(releasing if name in WAITING else holding, name, result, arguments))
        self.poll: Any = self._declare(holding, "inbox_take", *FUNCTIONS["inbox_take"])
        self.ready: Any = self._declare(holding, "client_wait", *FUNCTIONS["client_wait"])

    @staticmethod
    def _declare(dll: ctypes.CDLL, name: str, result: Any, arguments: list[Any]) -> Any:
        function = getattr(dll, "redmux_" + name)
        function.restype, function.argtypes = result, arguments
        return function

    def __getattr__(self, name: str) -> Any:
        """Never a function of the table; for type checkers."""
        raise AttributeError(name)


def load() -> Library:
    """The first candidate that is there."""
    paths = candidates()
    for path in paths:
        if path.exists():
            try:
                return Library(path)
            except OSError as error:
                raise LibraryError(f"{path} cannot be loaded: {error}") from None
    tried = "\n  ".join(str(path) for path in paths)
    raise LibraryError(
        f"libredmux is not here; tried, in this order:\n  {tried}\n"
        "Install a wheel that carries it, build it (`make build` in redmux' checkout), or name it in REDMUX_LIBRARY."
    )


lib = load()
