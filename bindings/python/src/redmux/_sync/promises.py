"""Promises: one message to come, by its name or in a set under a prefix."""

from typing import Self

from .._calls import OK, Begin, check, failure, undone
from .._core import CorePromises
from .._native import lib
from .._records import ACTIVE, PROMISE, Record
from .operations import Entered, Operations


class Promise:
    """One message to come: `wait` for it, from any thread."""

    def __init__(self, client: Operations, begin: Begin, what: str) -> None:
        self._client, self._what, self._token = client, what, next(client._tokens)
        self._replies = client._inbox_of_its_own(what)
        self._early: list[Record] = []
        with undone(self._replies.close):
            check(begin(self._replies.inbox, self._token), what)

    def _until_active(self) -> None:
        while not self._early:
            self._early = self._replies.take()
        for record in self._early:
            if record.kind == ACTIVE:
                return
            if record.kind == PROMISE and record.status != OK:
                raise failure(record.status, self._what, record.extra.decode(errors="replace"))

    def wait(self) -> bytes:
        """Its message, once."""
        for record in self._early:
            if record.kind == PROMISE and record.status == OK:
                return record.data
        try:
            return self._client._wait(self._replies, self._token, self._what).data
        finally:
            self._replies.close()

    def cancel(self) -> None:
        """Ends it with `CancelledError`; harmless when it ended before."""
        lib.inbox_cancel(self._replies.inbox, self._token)


class Promises(Entered, CorePromises):
    """A set of promises under a prefix. `with` waits until it is active."""

    _client: Operations

    def __init__(self, client: Operations, prefix: str | bytes) -> None:
        self._replies = client._inbox_of_its_own("promises")
        super().__init__(client, prefix, self._replies.inbox)

    def wait_active(self, timeout: float | None = None) -> None:
        """Waits until a promise can be made."""
        self._client._run(*self._operation(lib.promises_active, f"promises {self.prefix!r}", timeout))

    def new(self, suffix: str | bytes, *, timeout: float | None = None) -> Promise:
        """A promise on prefix and suffix, in effect at once. `InactiveError`: not at this moment."""
        return Promise(self._client, *self._new(suffix, timeout, None, later=False))

    def wait_new(self, suffix: str | bytes, *, timeout: float | None = None, wait: float | None = None) -> Promise:
        """A promise that is made as soon as the set is active."""
        return Promise(self._client, *self._new(suffix, timeout, wait, later=True))

    def _release(self) -> None:
        super()._release()
        self._replies.close()

    def __enter__(self) -> Self:
        with undone(self.close):
            self.wait_active()
        return self
