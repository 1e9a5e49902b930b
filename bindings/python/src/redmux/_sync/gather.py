"""Gathers: one request, and the answers of everybody as they come."""

from collections.abc import Iterator
from typing import Any, Self

from .. import _errors as errors
from .._calls import Out
from .._buffer import Answer, CoreGather, Result
from .operations import Operations


class Gather(CoreGather):
    """The answers to one request: `for`, or `all()`. Leaving the loop or `with` early gives the request up."""

    _client: Operations

    def __init__(self, client: Operations, *arguments: Any) -> None:
        self._replies = client._inbox_of_its_own("gather")
        super().__init__(client, (client._handle, self._replies.inbox, Out()), *arguments)

    def _more(self) -> Answer | None:
        while not self._came and self._last is None:
            try:
                for one in self._replies.take():
                    self._take(one.kind, one.flags, one.status, one.number, one.aux, one.extra, one.data)
                self._client._drain_events()
            except errors.ClosedError:
                self._abandon("closed")
            except BaseException:  # Ctrl-C, with which its end may be gone
                self.cancel()
                self._abandon("cancelled")
                raise
            if self._last is not None:
                self._replies.close()
        return self._next() if self._came else None

    def __iter__(self) -> Iterator[Answer]:
        try:
            while (answer := self._more()) is not None:
                yield answer
        finally:
            self.cancel()

    def all(self) -> Result:
        """Waits for its end, and returns everything."""
        return self._with(list(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        self._until = None
        while self._last is None:
            self._came.clear()
            self._more()
