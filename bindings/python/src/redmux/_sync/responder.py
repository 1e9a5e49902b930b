"""Responders: a handler's answers to the requests for a service, on threads of their own."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

from .._buffer import CoreResponder, Request
from .._native import lib
from .operations import Entered, Operations


class Responder(Entered, CoreResponder):
    """Serves, on threads of its own, until it is closed: `drain` lets what is in work finish, `close` does not."""

    _client: Operations

    def __init__(self, client: Operations, *arguments: Any) -> None:
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0
        self._working: dict[int, Request] = {}
        client._need_thread()
        super().__init__(client, *arguments)
        client._attend(self._inbox)

    def _begin(self, request: Request) -> None:
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name=f"redmux {self.service}", daemon=True).start()
            self._threads += 1
        request.cancelled = threading.Event()
        self._working[request._ticket] = request
        self._queue.put(request)
        if self._closed:  # meanwhile
            self._queue.put(None)

    def _cancelled(self, ticket: int) -> None:
        if request := self._working.get(ticket):  # its own thread may be taking it away
            request.cancelled.set()

    def _work(self) -> None:
        while (request := self._queue.get()) is not None:
            ticket = request._ticket
            try:
                said = self._call(request)
                if isinstance(said, Iterator):
                    self._say_each(ticket, said)
                elif said is not None:
                    self._say(ticket, said, last=True)
            except Exception as error:
                self._fail(ticket, error)
            finally:
                self._end(ticket)
                del self._working[ticket]
            del request
            self._idle.release()

    def drain(self, timeout: float | None = None) -> None:
        """Takes nothing new, waits until what is in work has finished, and closes."""
        try:
            self._client._run(*self._operation(lib.responder_drain, self._what, timeout))
        finally:
            self.close()

    def _release(self) -> None:
        super()._release()
        for request in list(self._working.values()):
            request.cancelled.set()
        for _ in range(self._threads):
            self._queue.put(None)
