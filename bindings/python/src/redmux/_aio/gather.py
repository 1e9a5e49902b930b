"""Gathers: one request, and the answers of everybody as they come."""

import asyncio
import weakref
from typing import Any, Self

from .._calls import BUSY, failure, undone
from .._buffer import Answer, CoreGather, Result
from .operations import Operations


class Gather(CoreGather):
    """The answers to one request: `async for`, or `all()`. Leaving the loop or `async with` early gives the request up."""

    _client: Operations
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, client: Operations, *arguments: Any) -> None:
        client._here("gather")
        super().__init__(client, client._asking, *arguments)
        client._gathers[self._token] = weakref.ref(self)

    async def _more(self) -> Answer | None:
        """The next answer; None at the end."""
        while not self._came:
            if self._last is not None:
                return None
            if self._waiter is not None:
                raise failure(BUSY, self._what, "another task reads its answers")
            self._waiter = self._client._loop.create_future()
            try:
                with undone(self.cancel):
                    await self._waiter
            finally:
                self._waiter = None
        return self._next()

    def __aiter__(self) -> "Answers":
        return Answers(self)

    async def all(self) -> Result:
        """Waits for its end, and returns everything."""
        return self._with([answer async for answer in self])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()


class Answers:
    """One iteration of a gather's answers; dropped before the end it gives the request up."""

    __slots__ = ("_gather",)

    def __init__(self, gather: Gather) -> None:
        self._gather = gather

    def __aiter__(self) -> "Answers":
        return self

    async def __anext__(self) -> Answer:
        answer = await self._gather._more()
        if answer is None:
            raise StopAsyncIteration
        return answer

    def __del__(self) -> None:
        self._gather.cancel()
