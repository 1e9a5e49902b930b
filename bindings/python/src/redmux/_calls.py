"""How the library is called: statuses and what is raised for them, arguments, options, and what holds a handle."""

import ctypes
import json as json_module
import logging
import math
import os
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import accumulate, chain
from typing import Any, Final

from . import _errors as errors
from ._native import Bytes, lib
from ._records import to_name

logger = logging.getLogger("redmux")
logger.addHandler(logging.NullHandler())

VERSION: Final = "0.1.0"
SLICE = 200  # a wait of a thread goes on in turns of so many ms, that Ctrl-C and an end are noticed
OK, CLOSED_STATUS, BUSY, OVERFLOW, TIMEOUT = 0, -200, -202, -502, -600

UNSET: Any = ...  # so that json=None publishes null
# An operation: given the reply inbox and a token it asks the library, and returns the status.
Begin = Callable[[int, int], int]


def word(status: int) -> str:
    """`closed` for REDMUX_ERR_CLOSED."""
    return str(lib.status_name(status), "ascii").removeprefix("REDMUX_ERR_").removeprefix("REDMUX_").lower()


def failure(status: int, what: str, detail: str = "", refused: Iterable[str] = ()) -> errors.Error:
    """The exception for a status."""
    names = tuple(refused)
    said = (detail or lib.status_message(status).decode()) + (": " + ", ".join(map(repr, names)) if names else "")
    error = errors.BY_CODE.get(status, errors.Error)(f"{what}: {said}", status, word(status))
    if isinstance(error, errors.RefusedError):
        error.names = names
    return error


def check(status: int, what: str) -> None:
    if status != OK:
        raise failure(status, what)


class Out:
    """Where a call writes the handle that it makes, or why there is none. It serves many calls, of one thread."""

    def __init__(self) -> None:
        self.handle, self.error = ctypes.c_uint64(), ctypes.c_void_p()
        self.places = ctypes.byref(self.handle), ctypes.byref(self.error)

    def failure(self, status: int, what: str) -> errors.Error:
        """The exception for a status, with the sentence that was written."""
        sentence = lib.error_message(self.error).decode(errors="replace")
        lib.error_free(self.error)
        self.error.value = None
        return failure(status, what, sentence)


def checked(call: Callable[[Any], int], what: str) -> None:
    """A call with an out_error: its sentence becomes the exception's."""
    out = Out()
    if (status := call(out.places[1])) != OK:
        raise out.failure(status, what)


def millis(timeout: float | None) -> int:
    """Seconds to the library's milliseconds: None is the client's option `timeout`, infinity is for ever."""
    if timeout is None:
        return 0
    if timeout < 0 or math.isnan(timeout):
        raise errors.ArgumentError(f"timeout={timeout!r}: seconds from 0 on, math.inf, or None", -100, "invalid_argument")
    return -1 if timeout == math.inf else max(1, math.ceil(timeout * 1000))


class undone:
    """What was begun is taken back where the rest of it fails, or is cancelled."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:
            self._undo()


def payload_of(data: Any, json: Any) -> bytes:
    """bytes as they are, str as UTF-8, json=... encoded."""
    if json is not UNSET:
        if data is not None:
            raise TypeError("a payload or json=..., not both")
        data = json_module.dumps(json, separators=(",", ":"), ensure_ascii=False)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, str):
        return data.encode()
    raise TypeError(f"a payload is bytes-like or str, not {type(data).__name__}; json=... encodes the rest")


def name_array(names: Iterable[str | bytes]) -> tuple[Any, int]:
    """An array of `redmux_bytes`, with the names behind it: an object a name would be most of what a name costs here."""
    encoded = [to_name(name) for name in names]
    lengths, table = [len(name) for name in encoded], bytes(ctypes.sizeof(Bytes) * len(encoded))
    found = ctypes.create_string_buffer(table + b"".join(encoded))
    places = accumulate(lengths, initial=ctypes.addressof(found) + len(table))
    ctypes.memmove(found, array("Q", chain.from_iterable(zip(places, lengths))).tobytes(), len(table))
    return found, len(encoded)


def text_of(call: Callable[[Any], int], what: str) -> str:
    """The JSON that a call returns as redmux_text."""
    text = ctypes.c_void_p()
    check(call(ctypes.byref(text)), what)
    got = lib.text_bytes(text)
    said = ctypes.string_at(got.data, got.len).decode()
    lib.text_free(text)
    return said


# --- options ----------------------------------------------------------------------------------------------------------

_durations: set[str] = set()


def option_text(key: str, value: Any) -> str:
    """Python's values as options: True, numbers (seconds, where it is a duration), timedelta, lists, bytes."""
    if not _durations:
        rows = json_module.loads(text_of(lib.options_describe, "options"))
        _durations.update(row["key"] for row in rows if row["type"] == "duration")
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) and key in _durations:
        return f"{round(value * 1000)}ms"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(str, value))
    return value.decode() if isinstance(value, bytes) else str(value)


def attempt_option(connect_timeout: float | None) -> dict[str, float]:
    """How long one attempt may take, where it is said how long is waited for the first; within what the option can be."""
    return {} if connect_timeout is None else {"connect_timeout": min(600.0, max(0.01, connect_timeout))}


@contextmanager
def prepared_options(url: str | None, options: dict[str, Any]) -> Iterator[int]:
    """Options of the library, for the calls of a block."""
    handle = ctypes.c_uint64()
    check(lib.options_new(ctypes.byref(handle)), "options")
    try:
        if url is not None:
            checked(lambda error: lib.options_set_url(handle, url.encode(), error), "connect")
        for key, value in options.items():
            checked(partial(lib.options_set, handle, key.encode(), option_text(key, value).encode()), "options")
        yield handle.value
    finally:
        lib.options_free(handle)


# --- what the world of a process holds --------------------------------------------------------------------------------


class Owner:
    """Something with native handles. In a forked child it is left alone; dropped without a close it is closed, and says so."""

    _closed, _pid, _handle = True, 0, 0
    _release: Callable[[], None]  # each owner has its own

    def _own(self, handle: int) -> None:
        """It is open from here on, and has to be closed."""
        self._handle, self._pid, self._closed = handle, os.getpid(), False

    def _operation(self, function: Any, what: str, timeout: float | None, *about: Any, later: tuple[int, ...] = ()) -> tuple[Begin, str]:
        """An operation on the handle and what it is about, to be begun by whoever waits for it."""
        limit = millis(timeout)
        return lambda inbox, token: function(self._handle, *about, inbox, token, limit, *later), what

    def _leave(self) -> bool:
        """Whether it is this process' to close, and was open; it is closed from now on."""
        open_here = not self._closed and self._pid == os.getpid()
        self._closed = True
        return open_here

    def _must_be_open(self, what: str) -> None:
        if self._closed:
            raise failure(CLOSED_STATUS, what)

    def close_nowait(self) -> None:
        """Closes at once, without waiting for anything; what was not read is gone. Harmless when it is closed."""
        if self._leave():
            self._release()

    def __del__(self) -> None:
        said = "" if self._closed else f"{self!r} was not closed"
        if self._leave():
            self._release()
            warnings.warn(said, ResourceWarning, stacklevel=1, source=self)
