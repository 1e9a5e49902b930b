"""Who watches a client's descriptor, so that its loop is told when something came."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import weakref
from typing import Any


class Reader:
    """Watches a dup of the client's descriptor, by the loop or, where the loop cannot (or REDMUX_NO_ADD_READER is set), a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, drain: weakref.WeakMethod[Any]) -> None:
        self._loop, self._descriptor, self._drain, self._open = loop, descriptor, drain, True
        self._stop: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        if not os.environ.get("REDMUX_NO_ADD_READER"):
            with contextlib.suppress(NotImplementedError):  # what a loop answers that watches no descriptors
                loop.add_reader(descriptor, self._run)
                return
        self._stop = os.pipe()
        self._drained = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="redmux-reader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        drain = self._drain()
        if drain is not None and self._open:
            drain()
        if self._thread is not None:
            self._drained.set()

    def _watch(self) -> None:
        assert self._stop is not None
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._stop[0], select.POLLIN | select.POLLHUP)
        while self._open:
            if any(descriptor == self._descriptor for descriptor, _ in poll.poll()) and self._open:
                self._drained.clear()
                try:
                    self._loop.call_soon_threadsafe(self._run)
                except RuntimeError:  # the loop is closed
                    return
                self._drained.wait()

    def rest(self) -> None:
        """A short pause: the descriptor stays readable while a client closes, and the loop would do nothing but look."""
        if self._thread is None and self._open:
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
        if self._thread is not None and self._stop is not None:
            self._drained.set()
            os.close(self._stop[1])
            if self._thread is not threading.current_thread():
                self._thread.join()
            os.close(self._stop[0])
            os.close(self._descriptor)
        elif self._loop.is_closed():
            os.close(self._descriptor)
        elif running_loop() is self._loop:
            self._forget()
        else:  # dropped without a close, on whatever thread
            try:
                self._loop.call_soon_threadsafe(self._forget)
            except RuntimeError:
                os.close(self._descriptor)

    def _forget(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
