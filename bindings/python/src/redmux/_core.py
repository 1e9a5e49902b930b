"""The native client, subscriptions and promises as both faces have them: handles, arguments, the event inbox. Nothing here waits."""

import ctypes
import itertools
import json as json_module
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Generic, TypeVar

from . import _errors as errors
from ._calls import (
    BUSY, CLOSED_STATUS, OK, OVERFLOW, TIMEOUT, UNSET, VERSION, Begin, Owner, check, checked, failure, logger, millis,
    name_array, payload_of, prepared_options, text_of, undone, word,
)
from ._native import lib
from ._records import (
    DROPPED, LOG, QUESTION, STATE, Active, Block, Dropped, End, Lost, Names, Record, Refused, decode_events, decode_records,
    to_name, to_text,
)

LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}
# From 1 on. The first four are the client's own.
STATES = "connecting,online,offline,stopped,slow consumer,publish online,publish offline,subscribed".split(",")
S = TypeVar("S", bound="CoreSubscription")
P = TypeVar("P")


class CoreClient(Owner):
    """The native client, and its event inbox."""

    # Each face has its own: how a question of the library is answered, and how something is begun that nobody waits for.
    _question: Callable[[int, str], None]
    _ask_only: Callable[[Begin, str], None]

    def __init__(self, url: str | None, address: Any, credentials: Any, on_state: Any, options: dict[str, Any]) -> None:
        ask = [key for key, function in (("address", address), ("credentials", credentials)) if function is not None]
        self._ask = {"address": address, "credentials": credentials}
        self._on_state, self.state = on_state, "connecting"
        self._names, self._tokens, self._block = Names(), itertools.count(1), Block()
        self._url, self._options = url, {key: value for key, value in options.items() if value is not None}
        given = {**self._options, "wrapper": f"python/{VERSION}"}
        if ask:
            given["ask"] = ask
        client, events = ctypes.c_uint64(), ctypes.c_uint64()
        with prepared_options(url, given) as prepared:
            out = ctypes.byref(client), ctypes.byref(events)
            checked(lambda error: lib.client_open_with(prepared, 1, None, None, None, *out, error), "connect")
        self._events = events.value
        self._children: weakref.WeakSet[Owner] = weakref.WeakSet()  # subscriptions and sets of promises
        self._responders: dict[int, Any] = {}  # by inbox; who serves is held
        self._collected: list[tuple[Any, Any, dict[str, Any]]] = []
        self._own(client.value)

    def __repr__(self) -> str:
        # The address alone: a password may stand before it, in the query, and in any part of a connection string.
        where = (self._url or "").rpartition("@")[2].partition("?")[0].partition(",")[0]
        where = where if where and "=" not in where else "the server that it was given"
        return f"<redmux client of {where}: {'closed' if self._closed else self.state}>"

    def _prepared(self, options: dict[str, Any]) -> AbstractContextManager[int]:
        """The client's options with these instead; 0, which means just the client's, without any."""
        given = {key: value for key, value in options.items() if value is not None}
        return prepared_options(self._url, {**self._options, **given}) if given else nullcontext(0)

    def _new_inbox(self, **options: Any) -> int:
        inbox = ctypes.c_uint64()
        with self._prepared(options) as prepared:
            checked(lambda error: lib.inbox_new(self._handle, prepared, ctypes.byref(inbox), error), "inbox")
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
        elif record.kind == STATE and 1 <= record.number <= len(STATES):
            state = STATES[record.number - 1]
            if record.number <= 4:
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
        """`(host, port)`, a path, `(user, password)`, a password or None."""
        values = answer if isinstance(answer, (tuple, list)) else [] if answer is None else [answer]
        said = ("" if value is None else value for value in values)  # Redis' default user
        array, count = name_array(value if isinstance(value, bytes) else str(value) for value in said)
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
        return dict(json_module.loads(text_of(lambda out: lib.client_stats(self._handle, out), "stats")))

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

    def _subscription(self, make: type[S], channels: tuple[Any, ...], pattern: Any, options: dict[str, Any]) -> S:
        if channels and pattern is not None:
            raise TypeError("subscribe to channels or to one pattern")
        self._must_be_open("subscribe")
        return make(self, options, pattern)

    def _subscribe_nowait(self, make: type[S], channels: tuple[Any, ...], pattern: Any, options: dict[str, Any]) -> S:
        sub = self._subscription(make, channels, pattern, options)
        with undone(sub.close_nowait):
            if pattern is not None:
                self._ask_only(*sub._open_pattern(None))
            elif channels:
                sub.add_nowait(*channels)
        return sub

    def _publish(self, channel: str | bytes, data: Any, json: Any, timeout: float | None) -> tuple[Begin, str]:
        name, payload, limit, handle = to_name(channel), payload_of(data, json), millis(timeout), self._handle
        return (
            lambda inbox, token: lib.client_publish(handle, name, len(name), payload, len(payload), inbox, token, limit),
            f"publish to {to_text(name)!r}",
        )

    def _promise(self, name: str | bytes, timeout: float | None) -> tuple[Begin, str]:
        encoded = to_name(name)
        return self._operation(lib.promise_make, f"promise {to_text(encoded)!r}", timeout, encoded, len(encoded))

    def _authenticate(self, user: str | None, password: str, timeout: float | None) -> tuple[Begin, str]:
        who = None if user is None else user.encode()
        return self._operation(lib.client_authenticate, "authenticate", timeout, who, password.encode())


class CoreSubscription(Owner):
    """A subscription and the inbox that its events come to."""

    _pending: Iterator[Any]
    _over: int | None = None  # the status of its end, once that was read
    _behind = 0  # how many records the last take left

    def __init__(self, client: CoreClient, options: dict[str, Any], pattern: str | bytes | None) -> None:
        self._client: Any = client
        self._pattern = None if pattern is None else to_name(pattern)
        self._pending = iter(())
        self._inbox, handle = client._new_inbox(**options), ctypes.c_uint64()
        if pattern is None:
            with undone(partial(lib.inbox_close, self._inbox, 0)):
                check(lib.subscription_new(client._handle, self._inbox, 0, ctypes.byref(handle)), "subscribe")
        self._own(handle.value)
        client._children.add(self)

    def __repr__(self) -> str:
        what = repr(to_text(self._pattern)) if self._pattern is not None else "channels"
        return f"<redmux subscription to {what}{': closed' if self._closed else ''}>"

    def _release(self) -> None:
        lib.subscription_close(self._handle)
        lib.inbox_close(self._inbox, 0)
        list(self._pending)  # whoever iterates comes to the end

    def _open_pattern(self, timeout: float | None) -> tuple[Begin, str]:
        pattern, limit, handle = self._pattern or b"", millis(timeout), ctypes.c_uint64()

        def begin(inbox: int, token: int) -> int:
            of = self._client._handle, self._inbox, pattern, len(pattern), 0
            status: int = lib.subscription_new_pattern(*of, inbox, token, limit, ctypes.byref(handle))
            self._handle = handle.value
            return status

        return begin, f"subscribe to {to_text(pattern)!r}"

    def _names(self, function: Any, verb: str, names: Iterable[str | bytes], timeout: float | None) -> tuple[Begin, str]:
        self._must_be_open(verb)
        return self._operation(function, verb, timeout, *name_array(names))

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
        return int(json_module.loads(text_of(lambda out: lib.inbox_stats(self._inbox, out), "dropped"))["dropped"])

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
        events = decode_events(records, blob, self._client._names, word)
        over = events.pop().status if events and type(events[-1]) is End else None
        self._pending = iter(events)
        if over is not None:
            self._over = OK if over == CLOSED_STATUS else over
        lib.block_release(block.address)  # last: until then a Ctrl-C leaves it here, and from `_pending` on none can come
        return True

    def _finished(self) -> None:
        """The end was read: raises where it was not the application that closed."""
        if self._over not in (OK, None) and not self._closed:
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


class CorePromises(Owner, Generic[P]):
    """A promise set."""

    _make: Callable[[Begin, str], P]  # each face has its own

    def __init__(self, client: CoreClient, prefix: str | bytes, inbox: int) -> None:
        self._client: Any = client
        self.prefix = to_text(to_name(prefix))
        name, handle = to_name(prefix), ctypes.c_uint64()
        check(lib.promises_new(client._handle, inbox, name, len(name), 0, ctypes.byref(handle)), f"promises {prefix!r}")
        self._own(handle.value)
        client._children.add(self)

    def __repr__(self) -> str:
        return f"<redmux promises of {self.prefix!r}{': closed' if self._closed else ''}>"

    def _release(self) -> None:
        lib.promises_close(self._handle)

    def new(self, suffix: str | bytes, *, timeout: float | None = None) -> P:
        """A promise on prefix and suffix, in effect at once; costs no traffic. `InactiveError`: not at this moment."""
        return self._promise(lib.promises_make, suffix, timeout)

    def wait_new(self, suffix: str | bytes, *, timeout: float | None = None, wait: float | None = None) -> P:
        """A promise that is made as soon as the set is active, within `wait` seconds; `timeout` counts from then."""
        return self._promise(lib.promises_make_later, suffix, timeout, millis(wait))

    def _promise(self, make: Any, suffix: str | bytes, timeout: float | None, *later: int) -> P:
        name = to_name(suffix)
        return self._make(*self._operation(make, f"promise {self.prefix + to_text(name)!r}", timeout, name, len(name), later=later))

    def clear(self) -> None:
        """Ends every promise of the set with `CancelledError`; the set goes on."""
        check(lib.promises_clear(self._handle, None), "clear")
