"""What is waited for: an operation has a token, and its record completes the future of that token.

One reader of the client's descriptor brings what came to whom it is for."""

import asyncio
import ctypes
import inspect
import weakref
from typing import Any, Self

from .._calls import CLOSED_STATUS, OK, Begin, Out, Owner, check, failure, undone
from .._core import CoreClient
from .._native import lib
from .._records import ACTIVE, ANSWER, DONE, END, FLAG, PROMISE, PUBLISHED, RECORD, REFUSED, Record, to_text
from .reader import Reader, complete


class Entered(Owner):
    """`async with` closes it."""

    async def close(self) -> None:
        """Closes it at once: who waits for something of it is told, and who reads comes to the end."""
        self.close_nowait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Operations(Entered, CoreClient):
    """The client's reply inbox, and who waits for something in it."""

    _reply = 0

    def __init__(self, *arguments: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._ops: dict[int, asyncio.Future[Any]] = {}
        self._refused: dict[int, list[str]] = {}
        self._actives: dict[int, asyncio.Future[None]] = {}
        # By token, until the end of each comes; one that is dropped before is found by its finalizer.
        self._gathers: dict[int, weakref.ref[Any]] = {}
        self._waiters: dict[int, asyncio.Future[Any]] = {}
        self._filled: dict[int, bool] = {}  # of the inboxes that are read: whether there may be something in it
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready, self._count, descriptor = (ctypes.c_uint64 * 64)(), ctypes.c_size_t(), ctypes.c_int32()
        self._counted = ctypes.byref(self._count)
        self._reader = Reader(self._loop, weakref.WeakMethod(self._on_readable))
        super().__init__(*arguments)
        with undone(self.close_nowait):
            self._reply = self._new_inbox()
            self._asking = ctypes.c_uint64(self._handle), ctypes.c_uint64(self._reply), Out()
            check(lib.client_fd(self._handle, ctypes.byref(descriptor)), "connect")
            self._reader.watch(descriptor.value)

    # --- the reader

    def _on_readable(self) -> None:
        ids, count, filled = self._ready, self._count, self._filled
        for _ in range(16):  # then the loop's other work; the descriptor stays readable
            status = lib.ready(self._handle, 0, ids, len(ids), self._counted)
            if status == CLOSED_STATUS:  # it is closing: what waits for its end is all that still comes
                self._take_replies()
                self._reader.rest()
                break
            if status != OK or not count.value:
                break
            for inbox in ids[: count.value]:
                if inbox in filled:
                    filled[inbox] = True
                    complete(self._waiters.get(inbox))
                elif inbox == self._reply:
                    self._take_replies()
                elif inbox in self._responders:
                    self._responders[inbox]._take_requests()
                elif inbox == self._events:
                    self._take_events()
            if count.value < len(ids):  # that was all: what comes now makes the descriptor readable again
                break

    def _take_replies(self) -> None:
        while lib.poll(self._reply, 0, self._block.address) == OK:
            records, blob, _ = self._block.copy()
            for kind, flags, status, source, token, number, aux, no, nl, eo, el, do, dl in RECORD.iter_unpack(records):
                extra, data = blob[eo : eo + el], blob[do : do + dl]
                if kind == ANSWER or kind == END:
                    known = self._gathers.get(token) if kind == ANSWER else self._gathers.pop(token, None)
                    gather = known() if known is not None else None
                    if gather is not None:
                        gather._take(kind, flags, status, number, aux, extra, data)
                        if gather._waiter is not None and not gather._waiter.done():
                            gather._waiter.set_result(None)
                elif kind == REFUSED and token in self._ops:
                    self._refused.setdefault(token, []).append(to_text(blob[no : no + nl]))
                elif kind == ACTIVE and flags & FLAG:
                    complete(self._actives.get(token))
                elif kind in (DONE, PUBLISHED, PROMISE):
                    whole = Record(kind, flags, status, source, token, number, aux, blob[no : no + nl], extra, data)
                    complete(self._ops.pop(token, None), whole)

    def _question(self, question: int, what: str) -> None:
        async def ask() -> None:
            try:
                said = self._ask[what]()
                self._answer(question, await said if inspect.isawaitable(said) else said)
            except Exception:
                self._refuse(question, what)

        self._keep(self._loop.create_task(ask()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """It ends with the client."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- operations

    def _ask_only(self, begin: Begin, what: str) -> None:
        check(CLOSED_STATUS if self._closed else begin(self._reply, 0), what)

    def _here(self, what: str) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(f"{what}: this client belongs to another event loop")

    def _begin(self, begin: Begin, what: str) -> tuple[int, asyncio.Future[Record]]:
        self._here(what)
        token = next(self._tokens)
        pending: asyncio.Future[Record] = self._loop.create_future()
        self._ops[token] = pending
        status = CLOSED_STATUS if self._closed else begin(self._reply, token)
        if status != OK:
            del self._ops[token]
            raise failure(status, what)
        return token, pending

    def _settle(self, record: Record, token: int, what: str) -> Record:
        refused = self._refused.pop(token, ())
        if record.status != OK:
            raise failure(record.status, what, record.extra.decode(errors="replace"), refused)
        return record

    async def _run(self, begin: Begin, what: str) -> Record:
        token, pending = self._begin(begin, what)
        try:
            record = await pending
        except asyncio.CancelledError:
            self._ops.pop(token, None)
            self._refused.pop(token, None)
            lib.inbox_cancel(self._reply, token)
            raise
        return self._settle(record, token, what)

    # --- the end

    def _release(self) -> None:
        self._reader.close()
        super()._release()
        lib.inbox_close(self._reply, 0)
        over = Record(DONE, 0, CLOSED_STATUS, 0, 0, 0, 0, b"", b"", b"")  # of what the inbox would have told
        for known in list(self._gathers.values()):
            if (gather := known()) is not None:
                gather._abandon("closed")
                complete(gather._waiter)
        for waiting in [*self._ops.values(), *self._waiters.values()]:
            complete(waiting, over)
