"""Subscriptions: an ordered stream of messages, read by one thread."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from .. import _errors as errors
from .._calls import OK, SLICE, TIMEOUT, failure
from .._core import CoreSubscription, say
from .._native import lib
from .._records import Block, Event, Message
from .operations import Entered, Operations

Handler = Callable[[Any], object]


class Mine(threading.local):
    """A thread's own block: two that read at once must not give back each other's."""

    def __init__(self) -> None:
        self.block = Block()


class Subscription(Entered, CoreSubscription):
    """An ordered stream of messages: `for`, `next`, `next_nowait`, `events`. One thread reads it at a time."""

    _client: Operations

    def __init__(self, client: Operations, options: dict[str, Any], pattern: str | bytes | None) -> None:
        super().__init__(client, options, pattern)
        self._mine = Mine()

    def add(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Adds channels and waits until Redis confirmed them."""
        try:
            self._client._run(*self._names(lib.subscription_add, "add", channels, timeout))
        except errors.RefusedError as error:
            self.remove_nowait(*error.names)
            raise

    def remove(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Removes channels and waits until Redis let them go."""
        self._client._run(*self._names(lib.subscription_remove, "remove", channels, timeout))

    def clear(self, timeout: float | None = None) -> None:
        """Removes every channel; the subscription stays."""
        self._client._run(*self._operation(lib.subscription_clear, "clear", timeout))

    def wait_active(self, timeout: float | None = None) -> None:
        """Waits until every channel is active or refused."""
        self._client._run(*self._operation(lib.subscription_active, "wait_active", timeout))

    def drain(self, timeout: float | None = None) -> None:
        """Unsubscribes; what came until then can still be read."""
        self._client._run(*self._operation(lib.subscription_drain, "drain", timeout))

    def _more(self, deadline: float = math.inf) -> bool:
        """Fills what is pending; False at the end. `TimeoutError` at the deadline."""
        while not self._closed:
            if self._over is not None:
                self._finished()
                return False
            left = SLICE if deadline == math.inf else math.ceil((deadline - time.monotonic()) * 1000)
            block = self._mine.block
            take = (lambda *_: OK) if block.lent else lib.inbox_take  # Ctrl-C came between a take and its copy
            if self._take(take, SLICE if left >= SLICE else max(0, left), block):
                return True
            if left <= 0:
                raise failure(TIMEOUT, "next", "no message in time")
            self._client._drain_events()
        return False

    def events(self) -> Iterator[Event]:
        """The same stream with `Lost`, `Active`, `Dropped` and `Refused`, each where it happened."""
        while True:
            yield from self._pending
            if not self._more():
                return

    def __iter__(self) -> Iterator[Message]:
        while True:
            for event in self._pending:
                if type(event) is Message:
                    yield event
                else:
                    say(event)
            if not self._more():
                return

    def next(self, timeout: float | None = None) -> Message:
        """The next message. `TimeoutError` after so many seconds; None waits for ever. `ClosedError` at the end.

        >>> with client.subscribe("news") as sub:
        ...     client.post("news", "hi")
        ...     sub.next(timeout=5)
        Message('news', b'hi')
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            for event in self._pending:
                if type(event) is Message:
                    return event
                say(event)
            if not self._more(deadline):
                raise self._closed_error()

    def next_nowait(self) -> Message | None:
        """The next message, if it is here already."""
        try:
            return self.next(timeout=0)
        except errors.TimeoutError:
            return None

    def _release(self) -> None:
        super()._release()
        self._client._callbacks.pop(self._inbox, None)
