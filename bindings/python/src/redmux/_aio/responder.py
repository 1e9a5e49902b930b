"""Responders: a handler's answers to the requests for a service, each in a task of its own."""

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import partial
from types import CoroutineType
from typing import Any

from .._buffer import CoreResponder, Reply, Request
from .._native import lib
from .operations import Entered, Operations
from .reader import cancelled_by_others, complete, running_loop


class Handling(asyncio.Task[None]):
    """A handler's task. Cancelled before it began it runs nothing, and so cannot end its request itself: only then it has a callback,
    because one each time is a sixth of what an answer costs."""

    left: Any  # what is called then, and with which ticket

    def cancel(self, msg: Any = None) -> bool:
        if not self.done():
            self.add_done_callback(partial(*self.left))
        return super().cancel(msg)


class Responder(Entered, CoreResponder):
    """Serves until it is closed: `drain` lets what is in work finish, `close` does not."""

    _client: Operations

    def __init__(self, client: Operations, *arguments: Any) -> None:
        self._working: dict[int, asyncio.Task[None]] = {}
        self._gone = client._loop.create_future()
        super().__init__(client, *arguments)

    def _begin(self, request: Request) -> None:
        ticket, loop = request._ticket, self._client._loop
        work = self._handle_one(ticket, request)
        if loop.get_task_factory() is not None:
            task = loop.create_task(work)
            task.add_done_callback(partial(self._left, ticket))
        elif sys.version_info >= (3, 12):  # it runs at once as far as it need not wait: for many handlers to their end
            task = asyncio.Task(work, loop=loop, eager_start=True)
        else:
            task = handling = Handling(work, loop=loop)
            handling.left = self._left, ticket
        if not task.done():
            self._working[ticket] = task
            if self._closed:  # by itself, meanwhile
                self._client._keep(task)

    def _left(self, ticket: int, task: asyncio.Task[None]) -> None:
        if self._working.pop(ticket, None) is not None:  # it never began
            self._end(ticket)

    def _cancelled(self, ticket: int) -> None:
        if ticket in self._working:
            self._working[ticket].cancel()

    async def _handle_one(self, ticket: int, request: Request) -> None:
        ended = False
        try:
            said = self._call(request)
            if type(said) is CoroutineType or inspect.isawaitable(said):
                said = await said
            if isinstance(said, (bytes, str, Reply)):  # looked for first: the others take longer to tell
                self._say(ticket, said, last=True)
                ended = True
            elif isinstance(said, AsyncIterator):
                try:
                    async for part in said:
                        if not self._say(ticket, part, last=False):
                            break
                finally:
                    if isinstance(said, AsyncGenerator):
                        await said.aclose()
            elif isinstance(said, Iterator):
                self._say_each(ticket, said)
            elif said is not None:
                self._say(ticket, said, last=True)
        except (Exception, asyncio.CancelledError) as error:
            if cancelled_by_others(error):
                raise
            self._fail(ticket, error)
        finally:
            if not ended:
                self._end(ticket)
            self._working.pop(ticket, None)

    async def wait_closed(self) -> None:
        """Waits until it is closed, by whomever."""
        await asyncio.shield(self._gone)

    async def drain(self, timeout: float | None = None) -> None:
        """Takes nothing new, waits until what is in work has finished, and closes."""
        try:
            await self._client._run(*self._operation(lib.responder_drain, self._what, timeout))
        finally:
            self.close_nowait()

    async def close(self) -> None:
        """Closes at once: handlers are cancelled, and their askers told."""
        self.close_nowait()
        others = [task for task in self._working.values() if task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)

    def _release(self) -> None:
        super()._release()
        if self._client._loop.is_closed():
            return
        complete(self._gone)
        running = asyncio.current_task() if running_loop() is self._client._loop else None
        for task in list(self._working.values()):
            self._client._keep(task)
            if task is not running:
                task.cancel()
