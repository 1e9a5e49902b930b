"""What is waited for: each thread has an inbox of its own for it, which it takes in slices so that Ctrl-C works.

Callbacks, questions, `on_state` and responders have one thread of the client, made when it is first needed."""

import ctypes
import sys
import threading
import weakref
from typing import Any, Self

from .._calls import OK, SLICE, TIMEOUT, Begin, Owner, check, failure, logger, undone
from .._core import CoreClient, say
from .._native import lib
from .._records import DONE, PUBLISHED, REFUSED, Block, Record, decode_records, to_text


class Replies:
    """An inbox for what one waits for: of a thread, or of a promise. Closed when it is dropped."""

    inbox = 0

    def __init__(self, client: CoreClient) -> None:
        self.inbox, self.block = client._new_inbox(), Block()

    def take(self, limit: int = SLICE) -> list[Record]:
        """What came, after at most one slice; nothing, too."""
        status = lib.inbox_take(self.inbox, limit, self.block.address)
        if status == TIMEOUT:
            return []
        check(status, "wait")
        records, blob, _ = self.block.copy()
        lib.block_release(self.block.address)
        return decode_records(records, blob)

    def close(self) -> None:
        lib.inbox_close(self.inbox, 0)

    __del__ = close


class Entered(Owner):
    """`with` closes it."""

    def close(self) -> None:
        """Closes it at once: who waits for something of it is told, and who reads comes to the end."""
        self.close_nowait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Operations(Entered, CoreClient):
    """A client whose every thread waits in an inbox of its own."""

    _thread: threading.Thread | None = None

    def __init__(self, *arguments: Any) -> None:
        self._local, self._lock, self._starting = threading.local(), threading.Lock(), threading.Lock()
        self._replies: weakref.WeakSet[Replies] = weakref.WeakSet()
        self._callbacks: dict[int, tuple[Any, dict[type, Any]]] = {}  # by inbox: the subscription, and who is called for what
        self._fresh: set[int] = set()  # inboxes that the thread has not looked at
        super().__init__(*arguments)
        with undone(self.close_nowait):
            if any(self._ask.values()) or self._on_state is not None:
                self._need_thread()

    # --- the thread

    def _need_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=_serve, args=(weakref.ref(self), self._handle), name="redmux", daemon=True)
                thread.start()
                self._thread = thread

    def _serve(self, inbox: int) -> None:
        if inbox == self._events:
            with self._lock:
                self._take_events()
        elif responder := self._responders.get(inbox):
            responder._take_requests()
        elif known := self._callbacks.get(inbox):
            sub, handlers = known
            sub._take(lib.poll, 0, sub._mine.block)  # one block; the inbox is named again where it left something
            for event in sub._pending:
                if sub._closed:
                    break
                try:
                    (handlers.get(type(event)) or say)(event)
                except BaseException:  # of one that exits, too
                    logger.exception("a callback failed on %r; the next event is delivered", event)
            if sub._over is not None:
                self._callbacks.pop(inbox, None)
                sub._finished()

    def _attend(self, inbox: int) -> None:
        """The thread looks at it: it may have something from before it was known whose it is."""
        self._fresh.add(inbox)
        lib.client_wake(self._handle)

    def _question(self, question: int, what: str) -> None:
        try:
            self._answer(question, self._ask[what]())
        except Exception:
            self._refuse(question, what)

    # --- operations

    def _drain_events(self) -> None:
        """Without a thread, whoever waits looks at the events meanwhile."""
        if self._thread is None and self._lock.acquire(blocking=False):
            try:
                self._take_events()
            finally:
                self._lock.release()

    def _reply(self, what: str) -> Replies:
        """This thread's, until it is put back: what a signal's handler waits for meanwhile comes to another."""
        return self._local.__dict__.pop("replies", None) or self._inbox_of_its_own(what)

    def _inbox_of_its_own(self, what: str) -> Replies:
        """Closed with the client."""
        self._must_be_open(what)
        replies = Replies(self)
        self._replies.add(replies)
        return replies

    def _ask_only(self, begin: Begin, what: str) -> None:
        replies = self._reply(what)
        try:
            while lib.poll(replies.inbox, 0, replies.block.address) == OK:
                pass  # what came goes, or it would pile up in a thread that never waits
            check(begin(replies.inbox, 0), what)
        finally:
            self._local.replies = replies

    def _run(self, begin: Begin, what: str) -> Record:
        replies, token = self._reply(what), next(self._tokens)
        try:
            check(begin(replies.inbox, token), what)
            return self._wait(replies, token, what)
        finally:
            self._local.replies = replies

    def _wait(self, replies: Replies, token: int, what: str) -> Record:
        refused: list[str] = []
        try:
            while True:
                for record in replies.take():
                    if record.token == token and record.kind == REFUSED:
                        refused.append(to_text(record.name))
                    elif record.token == token and record.kind in (DONE, PUBLISHED):
                        if record.status != OK:
                            raise failure(record.status, what, record.extra.decode(errors="replace"), refused)
                        return record
                self._drain_events()
        except BaseException:
            lib.inbox_cancel(replies.inbox, token)  # Ctrl-C, or a close; harmless where it ended
            raise

    # --- the end

    def _release(self) -> None:
        super()._release()
        for replies in list(self._replies):
            lib.inbox_close(replies.inbox, 0)
        self._callbacks.clear()
        if self._thread not in (None, threading.current_thread()) and not sys.is_finalizing():  # then none runs any more
            self._thread.join(1.0)


def _serve(reference: weakref.ref[Operations], handle: int) -> None:
    """The thread's loop. It holds the client only while there is something to do, so that a dropped one is found."""
    ready, count = (ctypes.c_uint64 * 64)(), ctypes.c_size_t()
    while True:
        status = lib.client_wait(handle, SLICE, ready, 64, ctypes.byref(count))
        if status not in (OK, TIMEOUT):
            return
        client = reference()
        if client is None or client._closed:
            return
        inboxes = set(ready[: count.value]) if status == OK else set()
        while client._fresh:
            inboxes.add(client._fresh.pop())
        for inbox in inboxes:
            try:
                client._serve(inbox)
            except BaseException:
                logger.exception("something failed in the thread of %r, which goes on", client)
        del client
