"""The library and its functions, as `include/redmux.h` declares them.

Handles are plain `c_uint64`: a struct of one 64-bit number is passed like the number. `FUNCTIONS` is held against the header
by a test. What never waits is called with the interpreter's lock held (`PyDLL`), which costs half as much.
"""

from __future__ import annotations

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


class Name(ctypes.Structure):
    """`redmux_bytes` as an argument: ctypes keeps the bytes object while the array lives."""

    _fields_ = [("data", c_char_p), ("len", c_size_t)]


_H, _P, _N, _T = c_uint64, c_char_p, c_size_t, c_int64
_OUT = POINTER(c_uint64)
_ERR = POINTER(c_void_p)
_TEXT = POINTER(c_void_p)
_CALLBACK = c_void_p

# name: (result, arguments)
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "abi_version": (c_uint32, []),
    "block_release": (None, [c_void_p]),
    "client_authenticate": (c_int32, [_H, _P, _P, _H, c_uint64, _T]),
    "client_barrier": (c_int32, [_H, _H, c_uint64, _T]),
    "client_barrier_wait": (c_int32, [_H, _T, _ERR]),
    "client_close": (c_int32, [_H, _T]),
    "client_close_begin": (c_int32, [_H, _H, c_uint64, _T]),
    "client_fd": (c_int32, [_H, POINTER(c_int32)]),
    "client_flush": (c_int32, [_H, _H, c_uint64, _T]),
    "client_flush_wait": (c_int32, [_H, _T, _ERR]),
    "client_open": (c_int32, [_P, _OUT, _ERR]),
    "client_open_with": (c_int32, [_H, c_int32, _CALLBACK, c_void_p, _CALLBACK, _OUT, _OUT, _ERR]),
    "client_post": (c_int32, [_H, _P, _N, _P, _N]),
    "client_publish": (c_int32, [_H, _P, _N, _P, _N, _H, c_uint64, _T]),
    "client_publish_wait": (c_int32, [_H, _P, _N, _P, _N, _T, _OUT, _ERR]),
    "client_ready": (c_int32, [_H, _H, c_uint64, _T]),
    "client_ready_wait": (c_int32, [_H, _T, _ERR]),
    "client_restart": (c_int32, [_H]),
    "client_stats": (c_int32, [_H, _TEXT]),
    "client_stop": (c_int32, [_H]),
    "client_take_many": (c_int32, [_H, _OUT, _N, c_void_p, POINTER(c_size_t)]),
    "client_wait": (c_int32, [_H, _T, _OUT, _N, POINTER(c_size_t)]),
    "client_wake": (c_int32, [_H]),
    "debug_live": (c_int64, []),
    "error_code": (c_int32, [c_void_p]),
    "error_free": (None, [c_void_p]),
    "error_message": (_P, [c_void_p]),
    "error_redis": (_P, [c_void_p]),
    "error_retriable": (c_int32, [c_void_p]),
    "inbox_cancel": (c_int32, [_H, c_uint64]),
    "inbox_close": (c_int32, [_H, _T]),
    "inbox_new": (c_int32, [_H, _H, _OUT, _ERR]),
    "inbox_new_callback": (c_int32, [_H, _H, _CALLBACK, c_void_p, _CALLBACK, _OUT, _ERR]),
    "inbox_stats": (c_int32, [_H, _TEXT]),
    "inbox_take": (c_int32, [_H, _T, c_void_p]),
    "list_count": (_N, [c_void_p]),
    "list_free": (None, [c_void_p]),
    "list_item": (Bytes, [c_void_p, _N]),
    "options_describe": (c_int32, [_TEXT]),
    "options_free": (None, [_H]),
    "options_get": (c_int32, [_H, _P, _TEXT, _ERR]),
    "options_new": (c_int32, [_OUT]),
    "options_set": (c_int32, [_H, _P, _P, _ERR]),
    "options_set_file": (c_int32, [_H, _P, _ERR]),
    "options_set_json": (c_int32, [_H, _P, _ERR]),
    "options_set_url": (c_int32, [_H, _P, _ERR]),
    "promise_make": (c_int32, [_H, _P, _N, _H, c_uint64, _T]),
    "promise_wait": (c_int32, [_H, _P, _N, _T, _TEXT, _ERR]),
    "promises_active": (c_int32, [_H, _H, c_uint64, _T]),
    "promises_active_wait": (c_int32, [_H, _T, _ERR]),
    "promises_clear": (c_int32, [_H, POINTER(c_size_t)]),
    "promises_close": (c_int32, [_H]),
    "promises_make": (c_int32, [_H, _P, _N, _H, c_uint64, _T]),
    "promises_make_later": (c_int32, [_H, _P, _N, _H, c_uint64, _T, _T]),
    "promises_make_wait": (c_int32, [_H, _P, _N, _T, _TEXT, _ERR]),
    "promises_new": (c_int32, [_H, _H, _P, _N, c_uint64, _OUT]),
    "question_answer": (c_int32, [_H, c_uint64, c_int32, POINTER(Name), _N]),
    "shutdown": (c_int32, [_T]),
    "status_message": (_P, [c_int32]),
    "status_name": (_P, [c_int32]),
    "subscription_active": (c_int32, [_H, _H, c_uint64, _T]),
    "subscription_active_wait": (c_int32, [_H, _T, _ERR]),
    "subscription_add": (c_int32, [_H, POINTER(Name), _N, _H, c_uint64, _T]),
    "subscription_add_wait": (c_int32, [_H, POINTER(Name), _N, _T, _ERR]),
    "subscription_clear": (c_int32, [_H, _H, c_uint64, _T]),
    "subscription_clear_wait": (c_int32, [_H, _T, _ERR]),
    "subscription_close": (c_int32, [_H]),
    "subscription_drain": (c_int32, [_H, _H, c_uint64, _T]),
    "subscription_drain_wait": (c_int32, [_H, _T, _ERR]),
    "subscription_names": (c_int32, [_H, _TEXT]),
    "subscription_new": (c_int32, [_H, _H, c_uint64, _OUT]),
    "subscription_new_pattern": (c_int32, [_H, _H, _P, _N, c_uint64, _H, c_uint64, _T, _OUT]),
    "subscription_remove": (c_int32, [_H, POINTER(Name), _N, _H, c_uint64, _T]),
    "subscription_remove_wait": (c_int32, [_H, POINTER(Name), _N, _T, _ERR]),
    "text_bytes": (Bytes, [c_void_p]),
    "text_free": (None, [c_void_p]),
    "version_number": (c_uint32, []),
    "version_string": (_P, []),
}

# What waits, or may: the interpreter's lock is let go meanwhile. (inbox_take waits only where its timeout is not 0.)
WAITING = {"client_close", "client_wait", "inbox_take", "inbox_close", "shutdown"} | {
    name for name in FUNCTIONS if name.endswith("_wait")
}


def candidates() -> list[Path]:
    """Where the library is looked for, in this order."""
    named = os.environ.get("REDMUX_LIBRARY")
    if named:
        return [Path(named)]
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
        releasing.redmux_abi_version.restype = c_uint32
        check_abi(releasing.redmux_abi_version(), path)
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
