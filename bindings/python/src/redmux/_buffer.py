"""Requests and responders, as both faces share them: what is begun, and what comes of it. Nothing here waits.

The core collects, counts and times; a gather here only keeps answers until they are read, a responder only hands requests to
its handler and says what the handler said.
"""

import ctypes
import json as json_module
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ._calls import CLOSED_STATUS, OK, UNSET, Out, Owner, checked, failure, logger, millis, payload_of, undone, word
from ._errors import BusyError, ClosedError, Error, NoRespondersError, RemoteError
from ._native import lib
from ._records import ANSWER, CANCEL, CLOSED, END, FLAG, RECORD, REQUEST, Block, Payload, to_name, to_text

REASONS = "all no_responders all count predicate quiet deadline cancelled closed interrupted failed overflow".split()
FAILED_FLAG, STOPPED, GIVEN_UP = 2, 4, 7
# What an answer may come to: that nobody waits any more, or that the request has ended, is told by a cancel.
ANSWERED = (OK, -205, CLOSED_STATUS)
Headers = Mapping[str, str]
# The traceparent of the request that a handler works on, "" where it has none; what it asks meanwhile carries it on.
TRACE: ContextVar[str] = ContextVar("redmux_traceparent", default="")


def encoded(headers: Headers | None) -> bytes:
    return json_module.dumps(dict(headers)).encode() if headers else b""


class Framed(Payload):
    """Bytes with a head line. What is not asked for is not read: the record is kept as it came."""

    __slots__ = ("_name", "_line", "_head")

    def __init__(self, name: bytes, line: bytes, data: bytes) -> None:
        self._name, self._line, self.data = name, line, data
        self._head: dict[str, Any] | None = None

    @property
    def service(self) -> str:
        """What was asked."""
        return to_text(self._name)

    def _from(self) -> str:
        return self.service

    @property
    def head(self) -> dict[str, Any]:
        """The whole head line, as it was sent."""
        if self._head is None:
            self._head = json_module.loads(self._line)
        return self._head

    @property
    def headers(self) -> dict[str, str]:
        """The headers that were sent with it."""
        return dict(self.head.get("h") or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.service!r}, {self.data!r})"


class Answer(Framed):
    """One answer: `data`, `text()`, `json()`, `headers`; whose (`responder`, `by`), and its `number` within its responder's."""

    __slots__ = ("number", "last", "time_ns")

    def __init__(self, name: bytes, line: bytes, data: bytes, number: int, last: bool, time_ns: int) -> None:
        self._name, self._line, self.data, self._head = name, line, data, None
        self.number, self.last, self.time_ns = number, last, time_ns

    @property
    def responder(self) -> str:
        """The name of the client that answered: its option `name`, else its machine's name."""
        return str(self.head.get("name", ""))

    @property
    def by(self) -> str:
        """Which responder it was, unlike any other."""
        return str(self.head.get("by", ""))


class Request(Framed):
    """A request to answer: `data`, `text()`, `json()`, `headers`, `service`, `id`."""

    __slots__ = ("_ticket", "until", "cancelled")

    def __init__(self, name: bytes, line: bytes, data: bytes, ticket: int, until: float) -> None:
        self._name, self._line, self.data, self._head = name, line, data, None
        self._ticket, self.until = ticket, until
        self.cancelled: Any = None
        """In `redmux.sync` an event that is set when nobody waits for an answer any more; in asyncio the task is cancelled."""

    @property
    def id(self) -> str:
        """The same for all who got this request."""
        return str(self.head.get("id", ""))


class Reply:
    """An answer that is more than its bytes: JSON, or with headers.

    >>> async def lookup(request):
    ...     return redmux.Reply(json={"name": "ann", "id": request.json()}, headers={"etag": "1"})
    >>> async with client.respond("user.lookup", lookup):
    ...     answer = await client.request("user.lookup", json=7)
    ...     answer.json(), answer.headers
    ({'name': 'ann', 'id': 7}, {'etag': '1'})
    """

    __slots__ = ("data", "headers")

    def __init__(self, data: Any = None, *, json: Any = UNSET, headers: Headers | None = None) -> None:
        self.data, self.headers = payload_of(data, json), headers


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a gather. What came is there, whatever the reason."""

    reason: str
    """`all`, `count`, `predicate`, `quiet`; `no_responders`, `deadline`, `cancelled`, `closed`, `interrupted`, `failed`, `overflow`"""
    answers: list[Answer]
    """Those that were not iterated, so all of them with `all()`."""
    errors: list[RemoteError]
    missing: list[str]
    """The names of those who took the request and did not finish."""
    expected: int | None
    """How many received the request, as Redis counted; None where nobody knows."""
    elapsed: float
    duplicates: int
    late: int
    error: Error | None
    """What `request` would raise; None where everything that was wanted came."""


class CoreGather:
    """One request, and its answers as they come. Asked as soon as it is made; dropped or left early it is given up."""

    _id = 0
    _last: tuple[int, int, int, bytes] | None = None  # status, number, aux and extra of its end, which few look at
    _end: Result | None = None
    _over = False

    def __init__(
        self, client: Any, asking: tuple[Any, Any, Out], service: str | bytes, data: Any, json: Any, timeout: float | None,
        until: Callable[[Answer], Any] | None, headers: Headers | None, options: dict[str, Any],
    ) -> None:
        self._client, self._until, self._name, self._token = client, until, to_name(service), next(client._tokens)
        self._came: deque[Answer] = deque()
        self.errors: list[RemoteError] = []
        payload = b"" if data is None and json is UNSET else payload_of(data, json)
        if trace := TRACE.get():
            headers = {"traceparent": trace, **(headers or {})}
        name, head, limit = self._name, encoded(headers) if headers else b"", millis(timeout) if timeout is not None else 0
        if client._closed:
            raise failure(CLOSED_STATUS, self._what)
        handle, inbox, out = asking
        said, last = (name, len(name), payload, len(payload), head, len(head)), (self._token, limit, *out.places)
        if options:
            with client._prepared(options) as prepared:
                status = lib.gather_open(handle, inbox, *said, prepared, *last)
        else:
            status = lib.gather_open(handle, inbox, *said, 0, *last)
        if status != OK:
            raise out.failure(status, self._what)
        self._id = out.handle.value

    @property
    def _what(self) -> str:
        return f"request to {to_text(self._name)!r}"

    @property
    def end(self) -> Result | None:
        """Why it ended, once it has."""
        if self._end is None and self._last is not None:
            self._end = self._result(*self._last)
        return self._end

    def __repr__(self) -> str:
        return f"<redmux {self._what}: {self.end.reason if self.end else 'open'}>"

    def _take(self, kind: int, flags: int, status: int, number: int, aux: int, extra: bytes, data: bytes) -> None:
        """Keeps what a record of it says."""
        if kind == END:
            self._last = status, number, aux, extra
        elif kind == ANSWER and not flags & FAILED_FLAG:
            if not self._over:
                self._came.append(Answer(self._name, extra, data, number, bool(flags & FLAG), aux))
        elif kind == ANSWER:
            made = RemoteError if status == RemoteError.code else BusyError
            try:
                head = json_module.loads(extra)
            except Exception:  # nested too deep, a number too long: the library passes over what it does not know
                head = {"code": "ERROR", "message": "its head line cannot be read"}
            message, code, retriable, by = (head.get(key, "") for key in ("message", "code", "retriable", "name"))
            self.errors.append(made(message, remote_code=code, retriable=bool(retriable), responder=by))

    def _result(self, status: int, number: int, aux: int, extra: bytes) -> Result:
        said = json_module.loads(extra)
        missing = [one["name"] for one in said["missing"]]
        found: Error | None = self.errors[0] if self.errors and status == RemoteError.code else None
        if found is None and status != OK:
            found = failure(status, self._what, said.get("message", ""))
        return Result(
            REASONS[number] if number < len(REASONS) else str(number), [], self.errors, missing, said["expected"], aux / 1e9,
            said["duplicates"], said["late"], found,
        )

    def _abandon(self, reason: str) -> None:
        """Nothing comes any more: its client is gone, or nobody looks."""
        said = b'{"expected":null,"missing":[],"duplicates":0,"late":0}'
        self._last = self._last or (CLOSED_STATUS, REASONS.index(reason), 0, said)

    def _with(self, answers: list[Answer]) -> Result:
        assert self.end is not None
        return replace(self.end, answers=answers)

    def _next(self) -> Answer:
        answer = self._came.popleft()
        if self._until is not None and self._until(answer):
            self.stop()
        return answer

    def _first(self, answer: Answer | None) -> Answer:
        """What `request` returns or raises."""
        if answer is None:
            assert self.end is not None
            raise self.end.error or failure(NoRespondersError.code, self._what, "nobody had an answer")
        if self._last is None:
            self.stop()
        return answer

    def stop(self) -> None:
        """You have what you wanted: it ends with `predicate`, and who still works on it is told."""
        self._over = True
        self._came.clear()
        self._leave(STOPPED)

    def cancel(self) -> None:
        """You do not want it any more: it ends with `cancelled`. What came can still be read."""
        self._leave(GIVEN_UP)

    def _leave(self, reason: int) -> None:
        if self._last is None:  # in a forked child the library leaves it alone
            lib.gather_stop(self._client._handle, self._id, reason)

    def __del__(self) -> None:
        if self._last is None and self._id:
            self.cancel()


class CoreResponder(Owner):
    """A responder, the inbox that its requests come to, and what its handler said."""

    # Each face has its own: how a handler is begun, and how it hears that nobody waits for a ticket.
    _begin: Callable[[Request], None]
    _cancelled: Callable[[int], None]

    def __init__(self, client: Any, service: str | bytes, handler: Callable[[Request], Any], options: dict[str, Any]) -> None:
        name, handle = to_name(service), ctypes.c_uint64()
        self._client, self._handler, self.service = client, handler, to_text(name)
        client._must_be_open(self._what)
        self._block, self._inbox = Block(), client._new_inbox()
        with undone(partial(lib.inbox_close, self._inbox, 0)), client._prepared(options) as prepared:
            to = client._handle, self._inbox, name, len(name), prepared, 0, ctypes.byref(handle)
            checked(lambda error: lib.responder_open(*to, error), self._what)
        self._own(handle.value)
        client._responders[self._inbox] = self

    @property
    def _what(self) -> str:
        return f"respond to {self.service!r}"

    def __repr__(self) -> str:
        return f"<redmux responder of {self.service!r}{': closed' if self._closed else ''}>"

    def _release(self) -> None:
        lib.responder_close(self._handle)
        lib.inbox_close(self._inbox, 0)
        self._client._responders.pop(self._inbox, None)

    def _take_requests(self) -> None:
        # One block; the inbox is named again where it left something. What a client that closes still says of its requests is no news.
        if not (self._closed or self._client._closed) and lib.poll(self._inbox, 0, self._block.address) == OK:
            records, blob, _ = self._block.copy()
            lib.block_release(self._block.address)
            for kind, _, status, _, _, number, aux, no, nl, eo, el, do, dl in RECORD.iter_unpack(records):
                if kind == REQUEST and not self._closed:
                    try:
                        self._begin(Request(blob[no : no + nl], blob[eo : eo + el], blob[do : do + dl], number, aux / 1e9))
                    except Exception as error:  # there is no thread for it
                        self._fail(number, error)
                elif kind == CANCEL:
                    self._cancelled(number)
                elif kind == CLOSED:
                    self.close_nowait()
                elif status != OK:
                    logger.warning("%r: %s; requests may be missed", self, word(status))

    def _not_drained(self, error: Error) -> None:
        """Other responders are to end too, and whoever ended them is to hear why, not this."""
        if not isinstance(error, ClosedError):
            logger.warning("%r was left with requests in work: %s", self, error)

    def _call(self, request: Request) -> Any:
        if b'"traceparent"' in request._line or TRACE.get():
            TRACE.set(request.headers.get("traceparent", ""))
        return self._handler(request)

    def _say_each(self, ticket: int, parts: Iterator[Any]) -> None:
        """What a generator gives. Where nobody waits any more it is stopped there, and may tidy up."""
        try:
            for part in parts:
                if not self._say(ticket, part, last=False):
                    break
        finally:
            if isinstance(parts, Generator):
                parts.close()

    def _say(self, ticket: int, value: Any, last: bool) -> bool:
        """Whether somebody may still hear it."""
        head = encoded(value.headers) if isinstance(value, Reply) else b""
        data = value if type(value) is bytes else value.data if isinstance(value, Reply) else payload_of(value, UNSET)
        status = lib.responder_answer(self._handle, ticket, data, len(data), head, len(head), last)
        if status not in ANSWERED:
            raise failure(status, f"answer of {self.service!r}")
        return bool(status == OK)

    def _fail(self, ticket: int, error: BaseException) -> None:
        if not isinstance(error, RemoteError):
            logger.exception("the handler of %r failed; its asker is told", self.service)
            error = RemoteError(str(error), remote_code=type(error).__name__)
        code, message = error.remote_code.encode(), error.message.encode("utf-8", "replace")
        lib.responder_fail(self._handle, ticket, code, len(code), message, len(message), error.retriable)

    def _end(self, ticket: int) -> None:
        lib.responder_end(self._handle, ticket)  # harmless where its last answer ended it
