"""What the asyncio and the synchronous client share: handles, arguments, errors, the event inbox. Nothing here waits."""

from __future__ import annotations

import ctypes
import itertools
import json as json_module
import logging
import math
import os
import warnings
import weakref
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from . import _errors as errors
from ._native import Name, lib
from ._records import (
    DROPPED, LOG, QUESTION, STATE, Active, Block, Dropped, End, Lost, Names, Record, Refused,
    decode_events, decode_records, to_name, to_text,
)

logger = logging.getLogger("redmux")
logger.addHandler(logging.NullHandler())

VERSION: Final = "0.1.0"
OK, CLOSED_STATUS, BUSY, OVERFLOW, TIMEOUT = 0, -200, -202, -502, -600
LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}
STATES = {
    1: "connecting", 2: "online", 3: "offline", 4: "stopped", 5: "slow consumer", 6: "publish online", 7: "publish offline",
    8: "subscribed",
}

# An operation: given the reply inbox and a token it asks the library, and returns the status.
Begin = Callable[[int, int], int]


def word(status: int) -> str:
    """`closed` for REDMUX_ERR_CLOSED."""
    name: str = lib.status_name(status).decode()
    return name.removeprefix("REDMUX_ERR_").removeprefix("REDMUX_").lower()


def failure(status: int, what: str, detail: str = "", refused: Iterable[str] = ()) -> errors.Error:
    """The exception for a status."""
    names = tuple(refused)
    said = detail or lib.status_message(status).decode()
    if names:
        said += ": " + ", ".join(repr(name) for name in names)
    error = errors.BY_CODE.get(status, errors.Error)(f"{what}: {said}", status, word(status))
    if isinstance(error, errors.RefusedError):
        error.names = names
    return error


def check(status: int, what: str) -> None:
    if status != OK:
        raise failure(status, what)


def checked(call: Callable[[Any], int], what: str) -> None:
    """A call with an out_error: its sentence becomes the exception's."""
    error = ctypes.c_void_p()
    status = call(ctypes.byref(error))
    if status != OK:
        sentence = lib.error_message(error).decode(errors="replace")
        lib.error_free(error)
        raise failure(status, what, sentence)


def millis(timeout: float | None) -> int:
    """Seconds to the library's milliseconds: None is the client's option `timeout`, infinity is for ever."""
    if timeout is None:
        return 0
    if timeout < 0 or math.isnan(timeout):
        raise errors.ArgumentError(f"timeout={timeout!r}: seconds from 0 on, math.inf, or None", -100, "invalid_argument")
    return -1 if timeout == math.inf else max(1, math.ceil(timeout * 1000))


def payload_of(data: Any, json: Any) -> bytes:
    """bytes as they are, str as UTF-8, json=... encoded."""
    if json is not UNSET:
        if data is not None:
            raise TypeError("a payload or json=..., not both")
        return json_module.dumps(json, separators=(",", ":"), ensure_ascii=False).encode()
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"a payload is bytes-like or str, not {type(data).__name__}; json=... encodes the rest")


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()  # so that json=None publishes null


def name_array(names: Iterable[str | bytes]) -> tuple[Any, int]:
    encoded = [to_name(name) for name in names]
    return (Name * len(encoded))(*[Name(name, len(name)) for name in encoded]), len(encoded)


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
    """Python's values as options: True, numbers (seconds, where it is a duration), timedelta, lists."""
    if not _durations:
        table = json_module.loads(text_of(lib.options_describe, "options"))
        rows = table if isinstance(table, list) else table["options"]
        _durations.update(row["key"] for row in rows if row["type"] == "duration")
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) and key in _durations:
        return f"{round(value * 1000)}ms"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(str, value))
    return str(value)


def make_options(url: str | None, options: dict[str, Any]) -> int:
    handle = ctypes.c_uint64()
    check(lib.options_new(ctypes.byref(handle)), "options")
    try:
        if url is not None:
            checked(lambda error: lib.options_set_url(handle, url.encode(), error), "connect")
        for key, value in options.items():
            checked(partial(lib.options_set, handle, key.encode(), option_text(key, value).encode()), "options")
    except BaseException:
        lib.options_free(handle)
        raise
    return handle.value


# --- what the world of a process holds --------------------------------------------------------------------------------


class Owner:
    """Something with native handles. In a forked child it is left alone; dropped without a close it is closed, and says so."""

    _closed = True
    _pid = 0

    _release: Callable[[], None]  # each owner has its own

    def _leave(self) -> bool:
        """Whether it is this process' to close, and was open; it is closed from now on."""
        open_here = not self._closed and self._pid == os.getpid()
        self._closed = True
        return open_here

    def close_nowait(self) -> None:
        """Closes at once, without waiting for anything; what was not read is gone. Harmless when it is closed."""
        if self._leave():
            self._release()

    def __del__(self) -> None:
        if self._closed or self._pid != os.getpid():
            return
        said = f"{self!r} was not closed"
        self._closed = True
        self._release()
        warnings.warn(said, ResourceWarning, stacklevel=1, source=self)


class CoreClient(Owner):
    """The native client, and its event inbox."""

    # Each face has its own: how a question of the library is answered, and which inbox completions come to.
    _question: Callable[[int, str], None]
    _reply_inbox: Callable[[], int]

    def __init__(
        self, url: str | None, address: Any, credentials: Any, on_state: Any, options: dict[str, Any]
    ) -> None:
        ask = [key for key, function in (("address", address), ("credentials", credentials)) if function is not None]
        self._ask = {"address": address, "credentials": credentials}
        self._on_state = on_state
        self._names = Names()
        self._tokens = itertools.count(1)
        self._block = Block()
        self._url, self._options = url, options
        self.state = "connecting"
        given = {**options, "wrapper": f"python/{VERSION}"}
        if ask:
            given["ask"] = ask
        prepared = make_options(url, given)
        client, events = ctypes.c_uint64(), ctypes.c_uint64()
        try:
            out = ctypes.byref(client), ctypes.byref(events)
            checked(lambda error: lib.client_open_with(prepared, 1, None, None, None, *out, error), "connect")
        finally:
            lib.options_free(prepared)
        self._handle, self._events = client.value, events.value
        self._children: weakref.WeakSet[CoreSubscription | CorePromises] = weakref.WeakSet()
        self._responders: dict[int, Any] = {}  # by inbox; who serves is held
        self._collected: list[tuple[Any, Any, dict[str, Any]]] = []
        self._pid = os.getpid()
        self._closed = False

    def __repr__(self) -> str:
        # The address alone: a password may stand before it, in the query, and in any part of a connection string.
        where = (self._url or "").rpartition("@")[2].partition("?")[0].partition(",")[0]
        where = where if where and "=" not in where else "the server that it was given"
        return f"<redmux client of {where}: {'closed' if self._closed else self.state}>"

    def _prepared(self, options: dict[str, Any]) -> int:
        """The client's options with these instead; 0, which means just the client's, without any."""
        given = {key: value for key, value in options.items() if value is not None}
        return make_options(self._url, {**self._options, **given}) if given else 0

    def _new_inbox(self, **options: Any) -> int:
        prepared = self._prepared(options)
        inbox = ctypes.c_uint64()
        try:
            checked(lambda error: lib.inbox_new(self._handle, prepared, ctypes.byref(inbox), error), "inbox")
        finally:
            if prepared:
                lib.options_free(prepared)
        return inbox.value

    def _release(self) -> None:
        """Closes everything without waiting."""
        for child in [*self._children, *self._responders.values()]:
            child.close_nowait()
        lib.client_close(self._handle, 0)
        lib.inbox_close(self._events, 0)

    # --- the event inbox: logs, states, questions

    def _take_events(self) -> None:
        while lib.poll(self._events, 0, self._block.address) == OK:
            records, blob, _ = self._block.copy()
            for record in decode_records(records, blob):
                self._on_event(record)

    def _on_event(self, record: Record) -> None:
        if record.kind == LOG:
            logger.log(LEVELS.get(record.number, logging.DEBUG), "%s", record.extra.decode(errors="replace"))
        elif record.kind == STATE and record.number in STATES:
            state = STATES[record.number]
            if record.number in (1, 2, 3, 4):
                self.state = state
            if self._on_state is not None:
                try:
                    self._on_state(state, record.extra.decode(errors="replace"))
                except Exception:
                    logger.exception("on_state failed")
        elif record.kind == DROPPED and record.status != OK:
            logger.warning("%d posts were lost: %s", record.number, word(record.status))
        elif record.kind == QUESTION:
            self._question(record.number, record.name.decode())

    def _answer(self, question: int, answer: Any) -> None:
        """`(host, port)`, a path, `(user, password)` or a password."""
        values = answer if isinstance(answer, (tuple, list)) else [answer]
        array, count = name_array(str(value) if not isinstance(value, bytes) else value for value in values)
        status = lib.question_answer(self._handle, question, OK, array, count)
        if status not in (OK, CLOSED_STATUS):
            logger.warning("an answer of the application was not taken: %s", word(status))

    def _refuse(self, question: int, what: str) -> None:
        logger.exception("%s= failed; the attempt to connect fails with it", what)
        lib.question_answer(self._handle, question, -300, None, 0)

    # --- what does not wait

    def post(self, channel: str | bytes, data: Any = None, *, json: Any = UNSET) -> None:
        """Publishes without waiting for anything; what is lost is counted in `stats()`.

        >>> client.post("news", "hi")
        """
        name, payload = to_name(channel), payload_of(data, json)
        check(lib.client_post(self._handle, name, len(name), payload, len(payload)), f"post to {to_text(name)!r}")

    def stop(self) -> None:
        """Disconnects and keeps everything that is subscribed, until `restart`.

        >>> client.stop()
        >>> client.restart()
        """
        check(lib.client_stop(self._handle), "stop")

    def restart(self) -> None:
        """Connects a stopped client again."""
        check(lib.client_restart(self._handle), "restart")

    def stats(self) -> dict[str, Any]:
        """What the client counted (docs/stats.schema.json).

        >>> client.stats()["online"]
        True
        """
        found: dict[str, Any] = json_module.loads(text_of(lambda out: lib.client_stats(self._handle, out), "stats"))
        return found

    def responder(self, service: str | bytes, **options: Any) -> Callable[[Any], Any]:
        """Makes a function the handler of a service, from `serve` on. options: those of `respond`.

        >>> @client.responder("user.lookup", concurrency=8)
        ... def lookup(request):
        ...     return b"ann"
        """

        def collect(handler: Any) -> Any:
            self._collected.append((service, handler, options))
            return handler

        return collect

    # --- operations, to be begun by whoever waits

    def _ask_only(self, begin: Begin, what: str) -> None:
        """Begins it; nobody waits for its end."""
        check(CLOSED_STATUS if self._closed else begin(self._reply_inbox(), next(self._tokens)), what)

    def _subscription(self, make: Any, channels: tuple[Any, ...], pattern: Any, options: dict[str, Any]) -> Any:
        if channels and pattern is not None:
            raise TypeError("subscribe to channels or to one pattern")
        if self._closed:
            raise failure(CLOSED_STATUS, "subscribe")
        return make(self, options, pattern)

    def _subscribe_nowait(self, make: Any, channels: tuple[Any, ...], pattern: Any, options: dict[str, Any]) -> Any:
        sub = self._subscription(make, channels, pattern, options)
        try:
            if pattern is not None:
                self._ask_only(*sub._open_pattern(None))
            elif channels:
                sub.add_nowait(*channels)
        except BaseException:
            sub.close_nowait()
            raise
        return sub

    def _publish(self, channel: str | bytes, data: Any, json: Any, timeout: float | None) -> tuple[Begin, str]:
        name, payload, limit = to_name(channel), payload_of(data, json), millis(timeout)
        handle = self._handle

        def begin(inbox: int, token: int) -> int:
            status: int = lib.client_publish(handle, name, len(name), payload, len(payload), inbox, token, limit)
            return status

        return begin, f"publish to {to_text(name)!r}"

    def _simple(self, function: Any, what: str, timeout: float | None) -> tuple[Begin, str]:
        limit = millis(timeout)
        return lambda inbox, token: function(self._handle, inbox, token, limit), what

    def _authenticate(self, user: str | None, password: str, timeout: float | None) -> tuple[Begin, str]:
        limit, who = millis(timeout), None if user is None else user.encode()
        return lambda inbox, token: lib.client_authenticate(
            self._handle, who, password.encode(), inbox, token, limit
        ), "authenticate"


class CoreSubscription(Owner):
    """A subscription and the inbox that its events come to."""

    def __init__(self, client: CoreClient, options: dict[str, Any], pattern: str | bytes | None) -> None:
        self._client: Any = client
        self._pattern = None if pattern is None else to_name(pattern)
        self._inbox = client._new_inbox(**options)
        self._handle = 0
        self._block = client._block
        self._pending: Any = iter(())
        self._over: int | None = None  # the status of its end, once that was read
        self._behind = 0  # how many records the last take left
        self._pid = os.getpid()
        self._closed = False
        if pattern is None:
            handle = ctypes.c_uint64()
            status = lib.subscription_new(client._handle, self._inbox, 0, ctypes.byref(handle))
            if status != OK:
                lib.inbox_close(self._inbox, 0)
                self._closed = True
                raise failure(status, "subscribe")
            self._handle = handle.value
        client._children.add(self)

    def __repr__(self) -> str:
        what = repr(to_text(self._pattern)) if self._pattern is not None else "channels"
        return f"<redmux subscription to {what}{': closed' if self._closed else ''}>"

    def _release(self) -> None:
        lib.subscription_close(self._handle)
        lib.inbox_close(self._inbox, 0)

    def _open_pattern(self, timeout: float | None) -> tuple[Begin, str]:
        pattern, limit, handle = self._pattern or b"", millis(timeout), ctypes.c_uint64()

        def begin(inbox: int, token: int) -> int:
            client = self._client._handle
            status: int = lib.subscription_new_pattern(
                client, self._inbox, pattern, len(pattern), 0, inbox, token, limit, ctypes.byref(handle)
            )
            self._handle = handle.value
            return status

        return begin, f"subscribe to {to_text(pattern)!r}"

    def _names(self, function: Any, verb: str, names: Iterable[str | bytes], timeout: float | None) -> tuple[Begin, str]:
        if self._closed:
            raise failure(CLOSED_STATUS, verb)
        array, count = name_array(names)
        limit = millis(timeout)
        return lambda inbox, token: function(self._handle, array, count, inbox, token, limit), verb

    def _simple(self, function: Any, what: str, timeout: float | None) -> tuple[Begin, str]:
        limit = millis(timeout)
        return lambda inbox, token: function(self._handle, inbox, token, limit), what

    def add_nowait(self, *channels: str | bytes) -> None:
        """Adds channels without waiting."""
        self._client._ask_only(*self._names(lib.subscription_add, "add", channels, None))

    def remove_nowait(self, *channels: str | bytes) -> None:
        """Removes channels without waiting."""
        self._client._ask_only(*self._names(lib.subscription_remove, "remove", channels, None))

    @property
    def channels(self) -> frozenset[str]:
        """The channels that it has, or its pattern.

        >>> sub = client.subscribe_nowait("news", "sport")
        >>> sorted(sub.channels)
        ['news', 'sport']
        >>> sub.close_nowait()
        """
        found = ctypes.c_void_p()
        check(lib.subscription_names(self._handle, ctypes.byref(found)), "channels")
        items = (lib.list_item(found, index) for index in range(lib.list_count(found)))
        names = frozenset(to_text(ctypes.string_at(item.data, item.len) if item.len else b"") for item in items)
        lib.list_free(found)
        return names

    @property
    def dropped(self) -> int:
        """How many messages had no room, so far."""
        counted: int = json_module.loads(text_of(lambda out: lib.inbox_stats(self._inbox, out), "dropped"))["dropped"]
        return counted

    def _take(self, take: Any, limit: int, block: Block) -> bool:
        """Takes one block into `_pending`; False: nothing came. Its last event may be the End, which stays inside."""
        status = take(self._inbox, limit, block.address)
        if status == TIMEOUT:
            return False
        if status == CLOSED_STATUS:
            self._over = self._over if self._over is not None else OK
            return True
        if status != OK:
            raise failure(status, "read", "another reader is in this subscription" if status == BUSY else "")
        records, blob, self._behind = block.copy()
        if not self._behind:  # who waits holds no block
            lib.block_release(block.address)
        events = decode_events(records, blob, self._client._names, word)
        if events and type(events[-1]) is End:
            over = events.pop().status
            self._over = OK if over == CLOSED_STATUS else over
        self._pending = iter(events)
        return True

    def _finished(self) -> None:
        """The end was read: raises where it was not the application that closed."""
        if self._over not in (OK, None):
            status, self._over = self._over, OK
            raise failure(status, "subscription", "its inbox was full and its policy is to close" if status == OVERFLOW else "")

    def _closed_error(self) -> errors.Error:
        return failure(CLOSED_STATUS, "read", "the subscription is closed")


def say(event: Any) -> None:
    """What plain iteration passes over is logged."""
    if type(event) is Lost:
        logger.warning("the connection was lost, messages may be missing: %s", event.text)
    elif type(event) is Dropped:
        logger.warning("%d messages were dropped: the reader is too slow", event.count)
    elif type(event) is Refused:
        logger.warning("%r is refused by Redis' ACL", event.channel)
    elif type(event) is Active and event.channel is None:
        logger.info("subscribed again after %.3f s", event.outage)


class CorePromises(Owner):
    """A promise set."""

    def __init__(self, client: CoreClient, prefix: str | bytes, inbox: int) -> None:
        self._client: Any = client
        self.prefix = to_text(to_name(prefix))
        self._own_inbox = inbox
        name, handle = to_name(prefix), ctypes.c_uint64()
        check(lib.promises_new(client._handle, inbox, name, len(name), 0, ctypes.byref(handle)), f"promises {prefix!r}")
        self._handle = handle.value
        self._pid = os.getpid()
        self._closed = False
        client._children.add(self)

    def __repr__(self) -> str:
        return f"<redmux promises of {self.prefix!r}{': closed' if self._closed else ''}>"

    def _release(self) -> None:
        lib.promises_close(self._handle)

    def _active(self, timeout: float | None) -> tuple[Begin, str]:
        limit = millis(timeout)
        return lambda inbox, token: lib.promises_active(self._handle, inbox, token, limit), f"promises {self.prefix!r}"

    def _new(self, suffix: str | bytes, timeout: float | None, wait: float | None, later: bool) -> tuple[Begin, str]:
        name, limit, until = to_name(suffix), millis(timeout), millis(wait)
        handle = self._handle

        def begin(inbox: int, token: int) -> int:
            if later:
                status: int = lib.promises_make_later(handle, name, len(name), inbox, token, limit, until)
            else:
                status = lib.promises_make(handle, name, len(name), inbox, token, limit)
            return status

        return begin, f"promise {self.prefix + to_text(name)!r}"

    def clear(self) -> None:
        """Ends every promise of the set with `CancelledError`; the set goes on."""
        check(lib.promises_clear(self._handle, None), "clear")


def promise_begin(client: CoreClient, name: str | bytes, timeout: float | None) -> tuple[Begin, str]:
    encoded, limit = to_name(name), millis(timeout)
    return (
        lambda inbox, token: lib.promise_make(client._handle, encoded, len(encoded), inbox, token, limit),
        f"promise {to_text(encoded)!r}",
    )


