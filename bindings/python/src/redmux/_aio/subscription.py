"""Subscriptions: an ordered stream of messages, read by one task."""

import asyncio
import builtins
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from .. import _errors as errors
from .._calls import BUSY, TIMEOUT, failure, logger
from .._core import CoreSubscription, say
from .._native import lib
from .._records import Event, Message
from .operations import Entered, Operations
from .reader import cancelled_by_others, complete

Handler = Callable[[Any], Any]


class Subscription(Entered, CoreSubscription):
    """An ordered stream of messages: `async for`, `next`, `next_nowait`, or `events` with losses and drops in their places.

    One task reads it at a time. Channels come and go while it lives.
    """

    _client: Operations

    async def add(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Adds channels and waits until Redis confirmed them. `RefusedError.names` are left out; the others are active.

        >>> sub = await client.subscribe()
        >>> await sub.add("news", "sport")
        >>> await sub.remove("sport")
        >>> sub.channels
        frozenset({'news'})
        >>> await sub.close()
        """
        try:
            await self._client._run(*self._names(lib.subscription_add, "add", channels, timeout))
        except errors.RefusedError as error:
            self.remove_nowait(*error.names)
            raise

    async def remove(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Removes channels and waits until Redis let them go."""
        await self._client._run(*self._names(lib.subscription_remove, "remove", channels, timeout))

    async def clear(self, timeout: float | None = None) -> None:
        """Removes every channel; the subscription stays."""
        await self._client._run(*self._operation(lib.subscription_clear, "clear", timeout))

    async def wait_active(self, timeout: float | None = None) -> None:
        """Waits until every channel is active or refused."""
        await self._client._run(*self._operation(lib.subscription_active, "wait_active", timeout))

    async def drain(self, timeout: float | None = None) -> None:
        """Unsubscribes; what came until Redis confirmed that can still be read, and then the stream ends."""
        await self._client._run(*self._operation(lib.subscription_drain, "drain", timeout))

    # --- reading

    async def _more(self) -> bool:
        """Fills what is pending; False at the end."""
        waited = False
        waiters, filled = self._client._waiters, self._client._filled
        while not self._closed:
            if self._over is not None:
                self._finished()
                return False
            if filled.setdefault(self._inbox, True):
                came = self._take(lib.poll, 0, self._client._block)
                filled[self._inbox] = came and self._behind > 0  # what comes from now on is told by the reader
                if came:
                    if not waited:
                        await asyncio.sleep(0)  # once a block, or a flood would starve every other task
                    return True
            if self._inbox in waiters:
                raise failure(BUSY, "read", "another task reads this subscription")
            waiters[self._inbox] = waiter = self._client._loop.create_future()
            try:
                await waiter
            finally:
                del waiters[self._inbox]
            waited = True
        return False

    async def events(self) -> AsyncIterator[Event]:
        """The same stream with `Message`, `Lost`, `Active`, `Dropped` and `Refused`, each where it happened.

        >>> async with client.subscribe("news") as sub:
        ...     async for event in sub.events():
        ...         print(event)
        ...         break
        Active(channel='news', outage=0.0)
        """
        while True:
            for event in self._pending:
                yield event
            if not await self._more():
                return

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            for event in self._pending:
                if type(event) is Message:
                    yield event
                else:
                    say(event)
            if not await self._more():
                return

    async def next(self, timeout: float | None = None) -> Message:
        """The next message. `TimeoutError` after so many seconds; None waits for ever. `ClosedError` at the end.

        >>> async with client.subscribe("news") as sub:
        ...     client.post("news", "hi")
        ...     await sub.next(timeout=5)
        Message('news', b'hi')
        """
        deadline = None if timeout is None else self._client._loop.time() + timeout
        while True:
            for event in self._pending:
                if type(event) is Message:
                    return event
                say(event)
            try:
                async with asyncio.timeout_at(deadline):
                    if not await self._more():
                        raise self._closed_error()
            except builtins.TimeoutError:
                if (found := self.next_nowait()) is not None:
                    return found
                raise failure(TIMEOUT, "next", f"no message within {timeout} s") from None

    def next_nowait(self) -> Message | None:
        """The next message, if it is here already.

        >>> async with client.subscribe("news") as sub:
        ...     sub.next_nowait()
        """
        while True:
            for event in self._pending:
                if type(event) is Message:
                    return event
                say(event)
            if self._closed or self._over is not None:
                self._finished()
                raise self._closed_error()
            if not self._take(lib.poll, 0, self._client._block):
                return None

    def _call(self, handlers: dict[type, Handler | None]) -> None:
        if not any(handlers.values()):
            return

        async def run() -> None:
            try:
                async for event in self.events():
                    try:
                        result = (handlers.get(type(event)) or say)(event)
                        if inspect.isawaitable(result):
                            await result
                    except (Exception, asyncio.CancelledError) as error:
                        if cancelled_by_others(error):
                            raise
                        logger.exception("a callback failed on %r; the next event is delivered", event)
            except errors.Error:
                logger.exception("%r ended", self)

        self._client._keep(self._client._loop.create_task(run()))

    # --- the end

    def _release(self) -> None:
        super()._release()
        self._client._filled.pop(self._inbox, None)
        complete(self._client._waiters.get(self._inbox))
