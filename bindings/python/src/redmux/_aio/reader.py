"""Who watches a client's descriptor, so that its loop is told when something came."""

import asyncio
import contextlib
import os
import select
import threading
import weakref
from typing import Any

from .._calls import SLICE, undone


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def cancelled_by_others(error: BaseException) -> bool:
    """Whether it ends the running task; a CancelledError that only came out of what it called is a failure like any other."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def complete(waiting: "asyncio.Future[Any] | None", result: Any = None) -> None:
    """Whoever waits goes on. Harmless where nobody does, or its loop is over."""
    if waiting is not None and not waiting.done() and not waiting.get_loop().is_closed():
        waiting.set_result(result)


class Reader:
    """Watches a dup of the client's descriptor, by the loop or, where the loop cannot (or REDMUX_NO_ADD_READER is set), a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: weakref.WeakMethod[Any]) -> None:
        self._loop, self._drain, self._open = loop, drain, False
        self._drained: threading.Event | None = None

    def watch(self, descriptor: int) -> None:
        """Begins to; where that fails, nothing is left."""
        self._descriptor, self._open = os.dup(descriptor), True
        with undone(self._end):
            if not os.environ.get("REDMUX_NO_ADD_READER"):
                with contextlib.suppress(NotImplementedError):  # what a loop answers that watches no descriptors
                    self._loop.add_reader(self._descriptor, self._run)
                    return
            self._drained = threading.Event()
            threading.Thread(target=self._watch, args=(self._drained,), name="redmux-reader", daemon=True).start()

    def _end(self) -> None:
        self._open = False
        os.close(self._descriptor)

    def _run(self) -> None:
        drain = self._drain()
        if drain is not None and self._open:
            drain()
        if self._drained is not None:
            self._drained.set()

    def _watch(self, drained: threading.Event) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            while self._open:
                if poll.poll(SLICE) and self._open:
                    drained.clear()
                    self._loop.call_soon_threadsafe(self._run)
                    drained.wait()
        self._end()

    def rest(self) -> None:
        """A short pause: the descriptor stays readable while a client closes, and the loop would do nothing but look."""
        if self._drained is None and self._open:
            self._loop.remove_reader(self._descriptor)
            self._loop.call_later(0.01, self._go_on)

    def _go_on(self) -> None:
        if self._open:
            self._loop.add_reader(self._descriptor, self._run)
            self._run()

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._drained is not None:
            self._drained.set()
        elif running_loop() is self._loop or not self._loop.is_running():  # which may never run again
            self._forget()
        else:  # dropped without a close, on whatever thread
            try:
                self._loop.call_soon_threadsafe(self._forget)
            except RuntimeError:  # the loop is closed
                self._end()

    def _forget(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._end()
