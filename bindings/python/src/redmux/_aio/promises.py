"""Promises: one message to come, by its name or in a set under a prefix."""

import asyncio
from collections.abc import Generator
from typing import Any, Self

from .._calls import Begin, undone
from .._core import CorePromises
from .._native import lib
from .._records import Record
from .operations import Entered, Operations


class Promise:
    """One message to come: `await` it. Cancelling a waiting task cancels the promise."""

    __slots__ = ("_client", "_token", "_pending", "_what")

    def __init__(self, client: Operations, token: int, pending: asyncio.Future[Record], what: str) -> None:
        self._client, self._token, self._pending, self._what = client, token, pending, what

    async def _wait(self) -> bytes:
        with undone(self.cancel):
            record = await asyncio.shield(self._pending)
        return self._client._settle(record, self._token, self._what).data

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._wait().__await__()

    def cancel(self) -> None:
        """Ends it with `CancelledError`; harmless when it ended before."""
        if not self._client._closed:
            lib.inbox_cancel(self._client._reply, self._token)


class Promises(Entered, CorePromises[Promise]):
    """A set of promises under a prefix. `async with` waits until it is active."""

    _client: Operations

    async def wait_active(self, timeout: float | None = None) -> None:
        """Waits until a promise can be made."""
        await self._client._run(*self._operation(lib.promises_active, f"promises {self.prefix!r}", timeout))

    def _make(self, begin: Begin, what: str) -> Promise:
        return Promise(self._client, *self._client._begin(begin, what), what)

    async def __aenter__(self) -> Self:
        with undone(self.close_nowait):
            await self.wait_active()
        return self
