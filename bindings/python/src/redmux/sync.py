"""redmux without await, for threads and prompts. The same names as `redmux`, each waiting in its own thread.

>>> with redmux.sync.connect("redis://localhost") as client:
...     with client.subscribe("news") as sub:
...         client.publish("news", "hi")
...         for message in sub:
...             print(message.channel, message.text())
...             break
1
news hi

Waiting is done in slices of 200 ms, so that Ctrl-C works.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

from . import _core as core
from . import _errors as errors
from ._buffer import TRACE, Answer, CoreGather, CoreResponder, Headers, Request, Result
from ._core import CLOSED_STATUS, OK, TIMEOUT, UNSET, Begin, failure, say
from ._native import lib
from ._records import (
    ACTIVE, DONE, PROMISE, PUBLISHED, REFUSED, Active, Block, Dropped, Event, Lost, Message, Record, decode_records, to_text,
)

SLICE = 200
Handler = Callable[[Any], object]


def connect(
    url: str | None = None, *, lazy: bool = False, connect_timeout: float = 5.0,
    address: Callable[[], Any] | None = None, credentials: Callable[[], Any] | None = None,
    on_state: Callable[[str, str], None] | None = None, **options: Any,
) -> Client:
    """Connects, as `redmux.connect` does. address, credentials and on_state are called on a thread of the client.

    >>> client = redmux.sync.connect("redis://localhost")
    >>> client.publish("news", "hi")
    0
    >>> client.close()
    """
    given = {"connect_timeout": max(connect_timeout, 0.01), **options}
    client = Client(url, address, credentials, on_state, given)
    if not lazy:
        try:
            client.ready(connect_timeout)
        except BaseException:
            client.close(timeout=0.1)
            raise
    return client


class Replies:
    """An inbox for what one waits for: of a thread, or of a promise. Closed when it is dropped."""

    __slots__ = ("inbox", "block", "_pid", "__weakref__")

    def __init__(self, client: Client) -> None:
        self.inbox, self.block, self._pid = client._new_inbox(), Block(), os.getpid()

    def take(self, deadline: float = math.inf) -> list[Record]:
        """What came, after at most one slice; nothing, too."""
        left = min(SLICE, max(0, math.ceil((deadline - time.monotonic()) * 1000))) if deadline != math.inf else SLICE
        status = lib.inbox_take(self.inbox, left, self.block.address)
        if status == TIMEOUT:
            return []
        if status != OK:
            raise failure(status, "wait")
        records, blob, _ = self.block.copy()
        return decode_records(records, blob)

    def close(self) -> None:
        if self._pid == os.getpid():
            lib.block_release(self.block.address)
            lib.inbox_close(self.inbox, 0)

    __del__ = close


class Client(core.CoreClient):
    """The synchronous client. May be used from any thread."""

    def __init__(self, url: str | None, address: Any, credentials: Any, on_state: Any, options: dict[str, Any]) -> None:
        self._local = threading.local()
        self._replies: weakref.WeakSet[Replies] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._callbacks: dict[int, tuple[Subscription, dict[type, Handler | None]]] = {}
        self._thread: threading.Thread | None = None
        super().__init__(url, address, credentials, on_state, options)
        if address is not None or credentials is not None or on_state is not None:
            self._need_thread()

    # --- the thread, where callbacks, questions or on_state need one

    def _need_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                arguments = (weakref.ref(self), self._handle)
                self._thread = threading.Thread(target=_serve, args=arguments, name="redmux", daemon=True)
                self._thread.start()

    def _serve(self, inbox: int) -> None:
        if inbox == self._events:
            with self._lock:
                self._take_events()
        elif inbox in self._responders:
            self._responders[inbox]._take_requests()
        sub, handlers = self._callbacks.get(inbox, (None, {}))
        while sub is not None and not sub._closed:
            for event in sub._pending:
                handler = handlers.get(type(event))
                try:
                    say(event) if handler is None else handler(event)
                except Exception:
                    core.logger.exception("a callback failed on %r; the next event is delivered", event)
            if sub._over is not None or not sub._take(lib.poll, 0, sub._block):
                break
        if sub is not None and (sub._closed or sub._over is not None):
            self._callbacks.pop(inbox, None)

    def _drain_events(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._take_events()
            finally:
                self._lock.release()

    def _question(self, question: int, what: str) -> None:
        try:
            self._answer(question, self._ask[what]())
        except Exception:
            self._refuse(question, what)

    # --- operations

    def _reply(self) -> Replies:
        replies: Replies | None = getattr(self._local, "replies", None)
        if replies is None:
            replies = self._local.replies = Replies(self)
            self._replies.add(replies)
        return replies

    def _reply_inbox(self) -> int:
        return self._reply().inbox

    def _run(self, begin: Begin, what: str) -> Record:
        if self._closed:
            raise failure(CLOSED_STATUS, what)
        replies, token = self._reply(), next(self._tokens)
        status = begin(replies.inbox, token)
        if status != OK:
            raise failure(status, what)
        return self._wait(replies, token, what)

    def _wait(self, replies: Replies, token: int, what: str) -> Record:
        refused: list[str] = []
        try:
            while True:
                for record in replies.take():
                    if record.token != token:
                        continue
                    if record.kind == REFUSED:
                        refused.append(to_text(record.name))
                    elif record.kind in (DONE, PUBLISHED, PROMISE):
                        lib.block_release(replies.block.address)
                        if record.status != OK:
                            raise failure(record.status, what, record.extra.decode(errors="replace"), refused)
                        return record
                if self._thread is None:
                    self._drain_events()
        except BaseException:
            lib.inbox_cancel(replies.inbox, token)  # Ctrl-C, or a close; harmless where it ended
            raise

    def ready(self, timeout: float | None = None) -> None:
        """Waits until the subscriber link is up."""
        self._run(*self._simple(lib.client_ready, "connect", timeout))

    def publish(self, channel: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None) -> int:
        """Publishes, and returns how many received it.

        >>> client.publish("news", json={"sport": "2:1"})
        0
        """
        return self._run(*self._publish(channel, data, json, timeout)).number

    def flush(self, timeout: float | None = None) -> None:
        """Waits until everything that was published and posted before is answered."""
        self._run(*self._simple(lib.client_flush, "flush", timeout))

    def barrier(self, timeout: float | None = None) -> None:
        """Waits until everything that was published before can be read here, where it is subscribed."""
        self._run(*self._simple(lib.client_barrier, "barrier", timeout))

    def authenticate(self, user: str | None, password: str, timeout: float | None = None) -> None:
        """New credentials for the live connections and all later ones."""
        self._run(*self._authenticate(user, password, timeout))

    def subscribe(
        self, *channels: str | bytes, pattern: str | bytes | None = None, timeout: float | None = None,
        on_message: Handler | None = None, on_lost: Handler | None = None, on_active: Handler | None = None,
        on_dropped: Handler | None = None, **options: Any,
    ) -> Subscription:
        """Subscribes and waits until Redis confirmed it. Callbacks run on one thread of the client.

        >>> heard = queue.SimpleQueue()
        >>> with client.subscribe(on_message=heard.put) as sub:
        ...     sub.add("my_channel")
        ...     client.publish("my_channel", "hello")
        ...     heard.get(timeout=5)
        1
        Message('my_channel', b'hello')
        """
        sub: Subscription = self._subscription(Subscription, channels, pattern, options)
        try:
            if pattern is not None:
                self._run(*sub._open_pattern(timeout))
            elif channels:
                sub.add(*channels, timeout=timeout)
        except BaseException:
            sub.close()
            raise
        handlers = {Message: on_message, Lost: on_lost, Active: on_active, Dropped: on_dropped}
        if any(handlers.values()):
            self._callbacks[sub._inbox] = (sub, handlers)
            self._need_thread()
            lib.client_wake(self._handle)
        return sub

    def subscribe_nowait(self, *channels: str | bytes, pattern: str | bytes | None = None, **options: Any) -> Subscription:
        """Subscribes without waiting for Redis; `wait_active` waits."""
        made: Subscription = self._subscribe_nowait(Subscription, channels, pattern, options)
        return made

    def promises(self, prefix: str | bytes) -> Promises:
        """A set of promises under a prefix.

        >>> with client.promises("p:") as promises:
        ...     promise = promises.new("job", timeout=5)
        ...     client.fulfill("p:job", b"done")
        ...     promise.wait()
        1
        b'done'
        """
        return Promises(self, prefix)

    def promise(self, name: str | bytes, *, timeout: float | None = None) -> Promise:
        """A promise on one channel, in effect when this returns."""
        begin, what = core.promise_begin(self, name, timeout)
        promise = Promise(self, begin, what)
        promise._until_active()
        return promise

    def fulfill(self, name: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None) -> int:
        """Keeps a promise, wherever it was made."""
        return self.publish(name, data, json=json, timeout=timeout)

    # --- requests and responders

    def gather(
        self, service: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None,
        until: Callable[[Answer], Any] | None = None, headers: Headers | None = None, **options: Any,
    ) -> Gather:
        """Asks everybody who serves it. Iterate the answers as they come, or wait for `all()`; the request is sent at once.

        >>> with client.respond("count", lambda request: str(len(request.data))):
        ...     [answer.text() for answer in client.gather("count", "hello")]
        ...     client.gather("count", "hi", expect=1).all().reason
        ['5']
        'count'
        """
        return Gather(self, service, data, json, timeout, until, headers, options)

    def request(
        self, service: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None,
        headers: Headers | None = None, **options: Any,
    ) -> Answer:
        """Asks, and returns the first answer. `NoRespondersError`; `RemoteError` where all answered with errors; `TimeoutError`."""
        with Gather(self, service, data, json, timeout, None, headers, options) as gather:
            return gather._first(gather._more())

    def respond(
        self, service: str | bytes, handler: Callable[[Request], Any], *, concurrency: int | None = None,
        group: str | None = None, catch_all: bool | None = None, timeout: float | None = None, **options: Any,
    ) -> Responder:
        """Serves: each request is given to `handler`, on a daemon thread, at most `concurrency` (64) at once.

        `request.cancelled.is_set()` once nobody waits for the answer any more. The rest is as with `redmux`.

        >>> with client.respond("user.lookup", lambda request: redmux.Reply(json={"name": "ann"})):
        ...     client.request("user.lookup", json=7).json()
        {'name': 'ann'}
        """
        given = {**options, "concurrency": concurrency, "group": group, "catch_all": catch_all}
        made = Responder(self, service, handler, given)
        try:
            self._run(*made._timed(lib.responder_active, timeout))
        except BaseException:
            made.close()
            raise
        return made

    def serve(self, timeout: float | None = None) -> None:
        """Serves what `@client.responder` collected, until Ctrl-C or a close; then lets what is in work finish."""
        def mine() -> list[Responder]:  # by the client's list: a request, and Ctrl-C, may come before a call here is over
            return [made for made in list(self._responders.values()) if made._handler in [one[1] for one in self._collected]]

        try:
            for service, handler, options in self._collected:
                made = Responder(self, service, handler, {**options, "timeout": None})
                self._run(*made._timed(lib.responder_active, options.get("timeout")))
            while mine():
                time.sleep(SLICE / 1000)
        finally:
            for made in mine():
                made.drain(timeout)

    # --- the end

    def close(self, timeout: float = 5.0) -> None:
        """Lets publishes finish for so long, ends everything that waits, and disconnects. A second call is harmless."""
        if not self._leave():
            return
        replies, token = Replies(self), next(self._tokens)
        status = lib.client_close_begin(self._handle, replies.inbox, token, core.millis(timeout))
        try:
            if status == OK:
                self._wait(replies, token, "close")
        except errors.TimeoutError:
            pass
        finally:
            replies.close()
            self._release()

    def _release(self) -> None:
        super()._release()
        lib.block_release(self._block.address)
        for replies in list(self._replies):
            lib.inbox_close(replies.inbox, 0)
        self._callbacks.clear()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(reference: weakref.ref[Client], handle: int) -> None:
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
        # A subscription may have had something before it had its callbacks.
        for inbox in inboxes | set(client._callbacks) | set(client._responders):
            client._serve(inbox)
        del client


class Subscription(core.CoreSubscription):
    """An ordered stream of messages: `for`, `next`, `next_nowait`, `events`. One thread reads it at a time."""

    _client: Client

    def __init__(self, client: Client, options: dict[str, Any], pattern: str | bytes | None) -> None:
        super().__init__(client, options, pattern)
        self._block = Block()  # threads do not share one

    def add(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Adds channels and waits until Redis confirmed them."""
        try:
            self._client._run(*self._names(lib.subscription_add, "add", channels, timeout))
        except errors.RefusedError as error:
            if error.names:
                self.remove_nowait(*error.names)
            raise

    def remove(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Removes channels and waits until Redis let them go."""
        self._client._run(*self._names(lib.subscription_remove, "remove", channels, timeout))

    def clear(self, timeout: float | None = None) -> None:
        """Removes every channel; the subscription stays."""
        self._client._run(*self._simple(lib.subscription_clear, "clear", timeout))

    def wait_active(self, timeout: float | None = None) -> None:
        """Waits until every channel is active or refused."""
        self._client._run(*self._simple(lib.subscription_active, "wait_active", timeout))

    def drain(self, timeout: float | None = None) -> None:
        """Unsubscribes; what came until then can still be read."""
        self._client._run(*self._simple(lib.subscription_drain, "drain", timeout))

    def _more(self, deadline: float = math.inf) -> bool:
        """Fills what is pending; False at the end. `TimeoutError` at the deadline."""
        while not self._closed:
            if self._over is not None:
                self._finished()
                return False
            left = SLICE if deadline == math.inf else math.ceil((deadline - time.monotonic()) * 1000)
            if self._take(lib.inbox_take, min(SLICE, max(0, left)), self._block):
                return True
            if left <= 0:
                raise failure(TIMEOUT, "next", "no message in time")
            if self._client._thread is None:
                self._client._drain_events()
        return False

    def events(self) -> Iterator[Event]:
        """The same stream with `Lost`, `Active`, `Dropped` and `Refused`, each where it happened."""
        while True:
            yield from self._pending
            if not self._more():
                return

    def __iter__(self) -> Iterator[Message]:
        while True:
            for event in self._pending:
                if type(event) is Message:
                    yield event
                else:
                    say(event)
            if not self._more():
                return

    def next(self, timeout: float | None = None) -> Message:
        """The next message. `TimeoutError` after so many seconds; None waits for ever. `ClosedError` at the end.

        >>> with client.subscribe("news") as sub:
        ...     client.post("news", "hi")
        ...     sub.next(timeout=5)
        Message('news', b'hi')
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            for event in self._pending:
                if type(event) is Message:
                    return event
                say(event)
            if not self._more(deadline):
                raise self._closed_error()

    def next_nowait(self) -> Message | None:
        """The next message, if it is here already."""
        try:
            return self.next(timeout=0)
        except errors.TimeoutError:
            return None

    def close(self) -> None:
        """Closes at once; whoever reads comes to the end of the stream."""
        self.close_nowait()

    def _release(self) -> None:
        super()._release()
        lib.block_release(self._block.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Promise:
    """One message to come: `wait` for it, from any thread."""

    def __init__(self, client: Client, begin: Begin, what: str) -> None:
        if client._closed:
            raise failure(CLOSED_STATUS, what)
        self._client, self._what, self._token = client, what, next(client._tokens)
        self._replies = Replies(client)
        client._replies.add(self._replies)
        self._early: list[Record] = []
        status = begin(self._replies.inbox, self._token)
        if status != OK:
            self._replies.close()
            raise failure(status, what)

    def _until_active(self) -> None:
        while not self._early:
            self._early = self._replies.take()
        lib.block_release(self._replies.block.address)
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


class Promises(core.CorePromises):
    """A set of promises under a prefix. `with` waits until it is active."""

    _client: Client

    def __init__(self, client: Client, prefix: str | bytes) -> None:
        if client._closed:
            raise failure(CLOSED_STATUS, "promises")
        self._replies = Replies(client)
        client._replies.add(self._replies)
        super().__init__(client, prefix, self._replies.inbox)

    def wait_active(self, timeout: float | None = None) -> None:
        """Waits until a promise can be made."""
        self._client._run(*self._active(timeout))

    def new(self, suffix: str | bytes, *, timeout: float | None = None) -> Promise:
        """A promise on prefix and suffix, in effect at once. `InactiveError`: not at this moment."""
        return Promise(self._client, *self._new(suffix, timeout, None, later=False))

    def wait_new(self, suffix: str | bytes, *, timeout: float | None = None, wait: float | None = None) -> Promise:
        """A promise that is made as soon as the set is active."""
        return Promise(self._client, *self._new(suffix, timeout, wait, later=True))

    def close(self) -> None:
        """Closes; its promises end with `ClosedError`."""
        self.close_nowait()

    def _release(self) -> None:
        super()._release()
        self._replies.close()

    def __enter__(self) -> Self:
        try:
            self.wait_active()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Gather(CoreGather):
    """The answers to one request: `for`, or `all()`. Leaving the loop or `with` early gives the request up."""

    _client: Client

    def __init__(self, client: Client, *arguments: Any) -> None:
        if client._closed:
            raise failure(CLOSED_STATUS, "gather")
        self._replies = Replies(client)
        client._replies.add(self._replies)
        super().__init__(client, self._replies.inbox, *arguments)

    def _more(self) -> Answer | None:
        while not self._came and self._last is None:
            try:
                found = self._replies.take()
            except errors.ClosedError:
                self._abandon()
                break
            except BaseException:
                self.cancel()  # Ctrl-C
                raise
            if any([self._take(record) for record in found]):
                self._replies.close()
            if self._client._thread is None:
                self._client._drain_events()
        return self._next() if self._came else None

    def __iter__(self) -> Iterator[Answer]:
        try:
            while (answer := self._more()) is not None:
                yield answer
        finally:
            self.cancel()

    def all(self) -> Result:
        """Waits for its end, and returns everything."""
        answers = list(self)
        assert self.end is not None
        return dataclasses.replace(self.end, answers=answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        self._until = None
        while self._last is None:
            self._came.clear()
            self._more()


class Responder(CoreResponder):
    """Serves, on threads of its own, until it is closed: `drain` lets what is in work finish, `close` does not."""

    _client: Client

    def __init__(self, client: Client, *arguments: Any) -> None:
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0
        self._working: dict[int, Request] = {}
        super().__init__(client, *arguments)
        client._need_thread()
        lib.client_wake(client._handle)

    def _begin(self, request: Request) -> None:
        request.cancelled = threading.Event()
        self._working[request._ticket] = request
        self._queue.put(request)
        if not self._idle.acquire(blocking=False):
            self._threads += 1
            threading.Thread(target=self._work, name=f"redmux {self.service}", daemon=True).start()
        if self._closed:  # meanwhile
            self._queue.put(None)

    def _cancelled(self, ticket: int) -> None:
        if ticket in self._working:
            self._working[ticket].cancelled.set()

    def _work(self) -> None:
        while (request := self._queue.get()) is not None:
            ticket, trace = request._ticket, self._trace(request)
            try:
                said = self._handler(request)
                if isinstance(said, Iterator):
                    for part in said:
                        self._say(ticket, part, last=False)
                elif said is not None:
                    self._say(ticket, said, last=True)
            except Exception as error:
                self._fail(ticket, error)
            finally:
                self._end(ticket)
                del self._working[ticket]
                TRACE.reset(trace)
            del request
            self._idle.release()

    def drain(self, timeout: float | None = None) -> None:
        """Takes nothing new, waits until what is in work has finished, and closes. A closed one is left alone."""
        try:
            if not self._closed:
                self._client._run(*self._timed(lib.responder_drain, timeout))
        finally:
            self.close()

    def close(self) -> None:
        """Closes at once: requests in work end, and their askers are told."""
        self.close_nowait()

    def _release(self) -> None:
        super()._release()
        for request in list(self._working.values()):
            request.cancelled.set()
        for _ in range(self._threads):
            self._queue.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
