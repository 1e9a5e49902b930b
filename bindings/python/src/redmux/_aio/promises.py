"""Promises: one message to come, by its name or in a set under a prefix."""

import asyncio
from collections.abc import Generator
from typing import Any, Self

from .._calls import undone
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


class Promises(Entered, CorePromises):
    """A set of promises under a prefix. `async with` waits until it is active."""

    _client: Operations

    async def wait_active(self, timeout: float | None = None) -> None:
        """Waits until a promise can be made."""
        await self._client._run(*self._operation(lib.promises_active, f"promises {self.prefix!r}", timeout))

    def new(self, suffix: str | bytes, *, timeout: float | None = None) -> Promise:
        """A promise on prefix and suffix, in effect at once; costs no traffic. `InactiveError`: not at this moment."""
        return self._make(suffix, timeout, None, later=False)

    def wait_new(self, suffix: str | bytes, *, timeout: float | None = None, wait: float | None = None) -> Promise:
        """A promise that is made as soon as the set is active, within `wait` seconds; `timeout` counts from then."""
        return self._make(suffix, timeout, wait, later=True)

    def _make(self, suffix: str | bytes, timeout: float | None, wait: float | None, later: bool) -> Promise:
        begin, what = self._new(suffix, timeout, wait, later)
        return Promise(self._client, *self._client._begin(begin, what), what)

    async def __aenter__(self) -> Self:
        with undone(self.close_nowait):
            await self.wait_active()
        return self
