"""Promises: one message to come, by its name or in a set under a prefix."""

import threading
from typing import Self

from .._calls import OK, Begin, check, failure, undone
from .._core import CorePromises
from .._native import lib
from .._records import PROMISE, Record
from .operations import Entered, Operations


class Promise:
    """One message to come: `wait` for it, from any thread."""

    def __init__(self, client: Operations, begin: Begin, what: str) -> None:
        self._client, self._what, self._token = client, what, next(client._tokens)
        self._replies, self._lock = client._inbox_of_its_own(what), threading.RLock()
        self._came: list[Record] = []
        with undone(self._replies.close):
            check(begin(self._replies.inbox, self._token), what)

    def _until(self, *kinds: int) -> Record:
        """The first record of these kinds. One thread takes, others look at what it took."""
        with self._lock, undone(self.cancel):
            while not (found := [record for record in self._came if record.kind in kinds]):
                self._came += self._replies.take()
                self._client._drain_events()
        return found[0]

    def wait(self) -> bytes:
        """Its message, which is the same for all who wait."""
        record = self._until(PROMISE)
        self._replies.close()
        if record.status != OK:
            raise failure(record.status, self._what, record.extra.decode(errors="replace"))
        return record.data

    def cancel(self) -> None:
        """Ends it with `CancelledError`; harmless when it ended before."""
        lib.inbox_cancel(self._replies.inbox, self._token)


class Promises(Entered, CorePromises[Promise]):
    """A set of promises under a prefix. `with` waits until it is active."""

    _client: Operations

    def __init__(self, client: Operations, prefix: str | bytes) -> None:
        self._replies = client._inbox_of_its_own("promises")
        super().__init__(client, prefix, self._replies.inbox)

    def wait_active(self, timeout: float | None = None) -> None:
        """Waits until a promise can be made."""
        self._client._run(*self._operation(lib.promises_active, f"promises {self.prefix!r}", timeout))

    def _make(self, begin: Begin, what: str) -> Promise:
        return Promise(self._client, begin, what)

    def _release(self) -> None:
        super()._release()
        self._replies.close()

    def __enter__(self) -> Self:
        with undone(self.close):
            self.wait_active()
        return self
