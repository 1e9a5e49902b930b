"""redmux for asyncio. One reader of the client's descriptor completes operations and wakes whoever waits for messages."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import ctypes
import dataclasses
import inspect
import os
import select
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from . import _core as core
from . import _errors as errors
from ._buffer import Answer, CoreGather, CoreResponder, Headers, Reply, Request, Result
from ._core import OK, UNSET, Begin, failure, say
from ._native import lib
from ._records import (
    ACTIVE, ANSWER, DONE, END, FLAG, PROMISE, PUBLISHED, REFUSED, Active, Dropped, Event, Lost, Message, Record,
    decode_records, to_text,
)

T = TypeVar("T", bound="Client | Subscription | Responder")
Handler = Callable[[Any], Any]


class Opening(Generic[T]):
    """What `connect` and `subscribe` return: `await` it, or enter it with `async with`."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._made: T | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._make().__await__()

    async def __aenter__(self) -> T:
        self._made = await self._make()
        return self._made

    async def __aexit__(self, *_: object) -> None:
        if self._made is not None:
            await self._made.close()


def connect(
    url: str | None = None, *, lazy: bool = False, connect_timeout: float = 5.0,
    address: Callable[[], Any] | None = None, credentials: Callable[[], Any] | None = None,
    on_state: Callable[[str, str], None] | None = None, **options: Any,
) -> Opening[Client]:
    """Connects, and waits until the link is up or `connect_timeout` (seconds) is over.

    url: None is the environment's (`REDIS_URL`, else `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, else localhost:6379).
    lazy: return at once; the server may come later. address, credentials: asked at each attempt to connect; they return
    `(host, port)` or the path of a socket, and `(user, password)` or a password, and may be coroutines. on_state: called
    with each change and its reason. options: those of docs/options.md, durations in seconds.

    >>> async with redmux.connect("redis://localhost", name="api-3", ping_interval=2) as client:
    ...     await client.publish("news", "hi")
    0
    """

    async def make() -> Client:
        given = {"connect_timeout": max(connect_timeout, 0.01), **options}
        client = Client(url, address, credentials, on_state, given)
        if not lazy:
            try:
                await client.ready(connect_timeout)
            except BaseException:
                await client.close(timeout=0.1)
                raise
        return client

    return Opening(make)


class Client(core.CoreClient):
    """One connection to hear and one to speak, made again for ever. Belongs to the loop that it was made in."""

    def __init__(self, url: str | None, address: Any, credentials: Any, on_state: Any, options: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(url, address, credentials, on_state, options)
        self._reply = self._new_inbox()
        self._ops: dict[int, asyncio.Future[Record]] = {}
        self._refused: dict[int, list[str]] = {}
        self._actives: dict[int, asyncio.Future[None]] = {}
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._filled: dict[int, bool] = {}  # of the inboxes that are read: whether there may be something in it
        self._gathers: weakref.WeakValueDictionary[int, Gather] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = (ctypes.c_uint64 * 64)()
        self._count = ctypes.c_size_t()
        self._counted = ctypes.byref(self._count)
        descriptor = ctypes.c_int32()
        core.check(lib.client_fd(self._handle, ctypes.byref(descriptor)), "connect")
        self._reader = Reader(self._loop, os.dup(descriptor.value), weakref.WeakMethod(self._on_readable))

    # --- the reader

    def _on_readable(self) -> None:
        ids, count, filled = self._ready, self._count, self._filled
        for _ in range(16):  # then the loop's other work; the descriptor stays readable
            status = lib.ready(self._handle, 0, ids, len(ids), self._counted)
            if status == core.CLOSED_STATUS:  # it is closing: what waits for its end is all that still comes
                self._take_replies()
                self._reader.rest()
                break
            if status != OK or not count.value:
                break
            for inbox in ids[: count.value]:
                if inbox in filled:
                    filled[inbox] = True
                    waiter = self._waiters.get(inbox)
                    if waiter is not None and not waiter.done():
                        waiter.set_result(None)
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
            for record in decode_records(records, blob):
                token, kind = record.token, record.kind
                if kind in (ANSWER, END):
                    gather = self._gathers.get(token)
                    if gather is not None:
                        gather._came_in(record)
                elif kind == REFUSED:
                    if token in self._ops:
                        self._refused.setdefault(token, []).append(to_text(record.name))
                elif kind == ACTIVE:
                    active = self._actives.get(token)
                    if active is not None and record.flags & FLAG and not active.done():
                        active.set_result(None)
                elif kind in (DONE, PUBLISHED, PROMISE):
                    pending = self._ops.pop(token, None)
                    if pending is not None and not pending.done():
                        pending.set_result(record)

    def _question(self, question: int, what: str) -> None:
        async def answer(coming: Awaitable[Any]) -> None:
            try:
                self._answer(question, await coming)
            except Exception:
                self._refuse(question, what)

        try:
            given = self._ask[what]()
            if inspect.isawaitable(given):
                self._keep(answer(given))
            else:
                self._answer(question, given)
        except Exception:
            self._refuse(question, what)

    def _keep(self, work: Coroutine[Any, Any, None], ended: Callable[[Any], None] | None = None) -> asyncio.Task[None]:
        """Runs it; `ended` forgets it in `_tasks` then."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended or self._tasks.discard)
        return task

    # --- operations

    def _reply_inbox(self) -> int:
        return self._reply

    def _here(self, what: str) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(f"{what}: this client belongs to another event loop")

    def _begin(self, begin: Begin, what: str) -> tuple[int, asyncio.Future[Record]]:
        self._here(what)
        token = next(self._tokens)
        pending: asyncio.Future[Record] = self._loop.create_future()
        self._ops[token] = pending
        status = core.CLOSED_STATUS if self._closed else begin(self._reply, token)
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

    async def ready(self, timeout: float | None = None) -> None:
        """Waits until the subscriber link is up; the `TimeoutError` says why the last attempt failed.

        >>> await client.ready(timeout=5)
        """
        await self._run(*self._simple(lib.client_ready, "connect", timeout))

    async def publish(
        self, channel: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None
    ) -> int:
        """Publishes, and returns how many received it. `NotSentError`: repeat it if you like; `UnknownError`: nobody knows.

        >>> await client.publish("news", json={"sport": "2:1"})
        0
        """
        return (await self._run(*self._publish(channel, data, json, timeout))).number

    async def flush(self, timeout: float | None = None) -> None:
        """Waits until everything that was published and posted before is answered.

        >>> await client.flush()
        """
        await self._run(*self._simple(lib.client_flush, "flush", timeout))

    async def barrier(self, timeout: float | None = None) -> None:
        """Waits until everything that was published before can be read here, where it is subscribed.

        >>> await client.barrier()
        """
        await self._run(*self._simple(lib.client_barrier, "barrier", timeout))

    async def authenticate(self, user: str | None, password: str, timeout: float | None = None) -> None:
        """New credentials for the live connections and all later ones."""
        await self._run(*self._authenticate(user, password, timeout))

    def subscribe(
        self, *channels: str | bytes, pattern: str | bytes | None = None, timeout: float | None = None,
        on_message: Handler | None = None, on_lost: Handler | None = None, on_active: Handler | None = None,
        on_dropped: Handler | None = None, **options: Any,
    ) -> Opening[Subscription]:
        """Subscribes to channels (perhaps none yet) or one pattern, and waits until Redis confirmed it.

        With a callback redmux reads the subscription itself and calls `on_message(message)`, … one at a time, functions or
        coroutines. options: `inbox_bytes`, `inbox_records`, `inbox_policy`.

        >>> async with client.subscribe("news", "sport") as sub:
        ...     await client.publish("news", "hi")
        ...     async for message in sub:
        ...         print(message.channel, message.text())
        ...         break
        1
        news hi
        """
        handlers = {Message: on_message, Lost: on_lost, Active: on_active, Dropped: on_dropped}

        async def make() -> Subscription:
            sub: Subscription = self._subscription(Subscription, channels, pattern, options)
            try:
                if pattern is not None:
                    await self._run(*sub._open_pattern(timeout))
                elif channels:
                    await sub.add(*channels, timeout=timeout)
            except BaseException:
                sub.close_nowait()
                raise
            sub._call(handlers)
            return sub

        return Opening(make)

    def subscribe_nowait(self, *channels: str | bytes, pattern: str | bytes | None = None, **options: Any) -> Subscription:
        """Subscribes without waiting for Redis; `wait_active` waits.

        >>> sub = client.subscribe_nowait("news")
        >>> await sub.wait_active()
        >>> await sub.close()
        """
        made: Subscription = self._subscribe_nowait(Subscription, channels, pattern, options)
        return made

    def promises(self, prefix: str | bytes) -> Promises:
        """A set of promises on the channels that begin with a prefix, for one subscription of Redis.

        >>> async with client.promises("p:") as promises:
        ...     promise = promises.new("job", timeout=5)
        ...     await client.fulfill("p:job", b"done")
        ...     await promise
        1
        b'done'
        """
        return Promises(self, prefix, self._reply)

    async def promise(self, name: str | bytes, *, timeout: float | None = None) -> Promise:
        """A promise on one channel, in effect when this returns: the next message on it keeps it.

        >>> promise = await client.promise("job:42", timeout=5)
        >>> await client.fulfill("job:42", b"done")
        1
        >>> await promise
        b'done'
        """
        begin, what = core.promise_begin(self, name, timeout)
        token, pending = self._begin(begin, what)
        promise = Promise(self, token, pending, what)
        active = self._actives[token] = self._loop.create_future()
        try:
            await asyncio.wait((active, pending), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            promise.cancel()
            raise
        finally:
            del self._actives[token]
        if not active.done():
            self._settle(pending.result(), token, what)
        return promise

    async def fulfill(self, name: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None) -> int:
        """Keeps a promise, wherever it was made: a publish on its name."""
        return await self.publish(name, data, json=json, timeout=timeout)

    # --- requests and responders

    def gather(
        self, service: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None,
        until: Callable[[Answer], Any] | None = None, headers: Headers | None = None, **options: Any,
    ) -> Gather:
        """Asks everybody who serves it. Iterate the answers as they come, or wait for `all()`; the request is sent at once.

        until: called with each answer; what is true stops the gather, that answer included. options: `expect` (so many are
        enough), `quiet` (so many seconds without another), `strict`, `others_only`, `repeatable`, … (docs/options.md).

        >>> async def total(request):
        ...     return str(len(request.data))
        >>> async with client.respond("count", total):
        ...     async with client.gather("count", "hello", timeout=2) as answers:
        ...         async for answer in answers:
        ...             print(answer.text())
        ...     answers.end.reason
        ...     result = await client.gather("count", "hi", timeout=2).all()
        ...     result.reason, result.answers, result.missing
        5
        'all'
        ('all', [Answer('count', b'2')], [])
        """
        return Gather(self, service, data, json, timeout, until, headers, options)

    async def request(
        self, service: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None,
        headers: Headers | None = None, **options: Any,
    ) -> Answer:
        """Asks, and returns the first answer. `NoRespondersError`; `RemoteError` where all answered with errors; `TimeoutError`.

        >>> try:
        ...     await client.request("nobody", "hi")
        ... except redmux.NoRespondersError as error:
        ...     print(error.kind)
        no_responders
        """
        gather = Gather(self, service, data, json, timeout, None, headers, options)
        return gather._first(await gather._more())

    def respond(
        self, service: str | bytes, handler: Callable[[Request], Any], *, concurrency: int | None = None,
        group: str | None = None, catch_all: bool | None = None, timeout: float | None = None, **options: Any,
    ) -> Opening[Responder]:
        """Serves: each request is given to `handler`, a function or a coroutine. `await` it, or enter it with `async with`.

        What it returns is the answer (bytes, str or a `Reply`); None is none. A generator gives several. What it raises is
        logged, and told to the asker; `RemoteError` says how. When nobody waits any more, its task is cancelled. At most
        `concurrency` (64) run at once. group: one of its members serves a request. catch_all: every service that begins so.

        >>> async def echo(request):
        ...     yield request.data
        ...     yield redmux.Reply(json={"from": "me"})
        >>> async with client.respond("echo", echo, concurrency=8):
        ...     [answer.text() async for answer in client.gather("echo", "hi")]
        ['hi', '{"from":"me"}']
        """
        given = {**options, "concurrency": concurrency, "group": group, "catch_all": catch_all}

        async def make() -> Responder:
            self._here("respond")
            made = Responder(self, service, handler, given)
            try:
                await self._run(*made._timed(lib.responder_active, timeout))
            except BaseException:
                made.close_nowait()
                raise
            return made

        return Opening(make)

    async def serve(self, timeout: float | None = None) -> None:
        """Serves what `@client.responder` collected, until it is cancelled or the client closed.

        A cancel takes nothing new and lets what is in work finish, for `timeout` seconds.
        """
        async with contextlib.AsyncExitStack() as stack:
            opened = []
            for service, handler, options in self._collected:
                opened.append(await self.respond(service, handler, **options))
                stack.push_async_callback(opened[-1].drain, timeout)
            await asyncio.gather(*(made.wait_closed() for made in opened))

    # --- the end

    async def close(self, timeout: float = 5.0) -> None:
        """Lets publishes finish for so long, ends everything that waits, and disconnects. A second call is harmless."""
        if not self._leave():
            return
        token, done = next(self._tokens), self._loop.create_future()
        self._ops[token] = done
        status = lib.client_close_begin(self._handle, self._reply, token, core.millis(timeout))
        try:
            if status == OK:
                await done
        finally:
            self._release()
            others = [task for task in self._tasks if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _release(self) -> None:
        self._reader.close()
        super()._release()
        lib.block_release(self._block.address)
        lib.inbox_close(self._reply, 0)
        for gather in list(self._gathers.values()):
            gather._abandon()
        if not self._loop.is_closed():
            for waiter in list(self._waiters.values()):
                if not waiter.done():
                    waiter.set_result(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


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
        elif _running_loop() is self._loop:
            self._forget()
        else:  # dropped without a close, on whatever thread
            try:
                self._loop.call_soon_threadsafe(self._forget)
            except RuntimeError:
                os.close(self._descriptor)

    def _forget(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Subscription(core.CoreSubscription):
    """An ordered stream of messages: `async for`, `next`, `next_nowait`, or `events` with losses and drops in their places.

    One task reads it at a time. Channels come and go while it lives.
    """

    _client: Client

    async def add(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Adds channels and waits until Redis confirmed them. `RefusedError.names` are left out; the others are active.

        >>> sub = await client.subscribe()
        >>> await sub.add("news", "sport")
        >>> await sub.remove("sport")
        >>> sub.channels
        frozenset({'news'})
        >>> await sub.close()
        """
        try:
            await self._client._run(*self._names(lib.subscription_add, "add", channels, timeout))
        except errors.RefusedError as error:
            if error.names:
                self.remove_nowait(*error.names)
            raise

    async def remove(self, *channels: str | bytes, timeout: float | None = None) -> None:
        """Removes channels and waits until Redis let them go."""
        await self._client._run(*self._names(lib.subscription_remove, "remove", channels, timeout))

    async def clear(self, timeout: float | None = None) -> None:
        """Removes every channel; the subscription stays."""
        await self._client._run(*self._simple(lib.subscription_clear, "clear", timeout))

    async def wait_active(self, timeout: float | None = None) -> None:
        """Waits until every channel is active or refused."""
        await self._client._run(*self._simple(lib.subscription_active, "wait_active", timeout))

    async def drain(self, timeout: float | None = None) -> None:
        """Unsubscribes; what came until Redis confirmed that can still be read, and then the stream ends."""
        await self._client._run(*self._simple(lib.subscription_drain, "drain", timeout))

    # --- reading

    async def _more(self) -> bool:
        """Fills what is pending; False at the end."""
        waited = False
        waiters, filled = self._client._waiters, self._client._filled
        while not self._closed:
            if self._over is not None:
                self._finished()
                return False
            if filled.setdefault(self._inbox, True):
                came = self._take(lib.poll, 0, self._block)
                filled[self._inbox] = came and self._behind > 0  # what comes from now on is told by the reader
                if came:
                    if not waited:
                        await asyncio.sleep(0)  # once a block, or a flood would starve every other task
                    return True
            if self._inbox in waiters:
                raise failure(core.BUSY, "read", "another task reads this subscription")
            waiters[self._inbox] = waiter = self._client._loop.create_future()
            try:
                await waiter
            finally:
                del waiters[self._inbox]
            waited = True
        return False

    async def events(self) -> AsyncIterator[Event]:
        """The same stream with `Message`, `Lost`, `Active`, `Dropped` and `Refused`, each where it happened.

        >>> async with client.subscribe("news") as sub:
        ...     async for event in sub.events():
        ...         print(event)
        ...         break
        Active(channel='news', outage=0.0)
        """
        while True:
            for event in self._pending:
                yield event
            if not await self._more():
                return

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            for event in self._pending:
                if type(event) is Message:
                    yield event
                else:
                    say(event)
            if not await self._more():
                return

    async def next(self, timeout: float | None = None) -> Message:
        """The next message. `TimeoutError` after so many seconds; None waits for ever. `ClosedError` at the end.

        >>> async with client.subscribe("news") as sub:
        ...     client.post("news", "hi")
        ...     await sub.next(timeout=5)
        Message('news', b'hi')
        """
        deadline = None if timeout is None else self._client._loop.time() + timeout
        while True:
            for event in self._pending:
                if type(event) is Message:
                    return event
                say(event)
            try:
                async with asyncio.timeout_at(deadline):
                    if not await self._more():
                        raise self._closed_error()
            except errors.Error:
                raise
            except builtins.TimeoutError:
                found = self.next_nowait()
                if found is not None:
                    return found
                raise failure(core.TIMEOUT, "next", f"no message within {timeout} s") from None

    def next_nowait(self) -> Message | None:
        """The next message, if it is here already.

        >>> async with client.subscribe("news") as sub:
        ...     sub.next_nowait()
        """
        while True:
            for event in self._pending:
                if type(event) is Message:
                    return event
                say(event)
            if self._closed:
                raise self._closed_error()
            if self._over is not None:
                self._finished()
                raise self._closed_error()
            if not self._take(lib.poll, 0, self._block):
                return None

    def _call(self, handlers: dict[type, Handler | None]) -> None:
        if not any(handlers.values()):
            return

        async def run() -> None:
            async for event in self.events():
                handler = handlers.get(type(event))
                if handler is None:
                    say(event)
                    continue
                try:
                    result = handler(event)
                    if inspect.isawaitable(result):
                        await result
                except Exception:
                    core.logger.exception("a callback failed on %r; the next event is delivered", event)

        self._client._keep(run())

    # --- the end

    async def close(self) -> None:
        """Closes; whoever reads comes to the end of the stream."""
        self.close_nowait()

    def _release(self) -> None:
        super()._release()
        self._client._filled.pop(self._inbox, None)
        for _ in self._pending:
            pass
        waiter = self._client._waiters.get(self._inbox)
        if waiter is not None and not waiter.done() and not self._client._loop.is_closed():
            waiter.set_result(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Promise:
    """One message to come: `await` it. Cancelling the waiting task cancels the promise."""

    __slots__ = ("_client", "_token", "_pending", "_what")

    def __init__(self, client: Client, token: int, pending: asyncio.Future[Record], what: str) -> None:
        self._client, self._token, self._pending, self._what = client, token, pending, what

    async def _wait(self) -> bytes:
        try:
            record = await self._pending
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self._client._settle(record, self._token, self._what).data

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._wait().__await__()

    def cancel(self) -> None:
        """Ends it with `CancelledError`; harmless when it ended before."""
        if not self._client._closed:
            lib.inbox_cancel(self._client._reply, self._token)


class Promises(core.CorePromises):
    """A set of promises under a prefix. `async with` waits until it is active."""

    _client: Client

    async def wait_active(self, timeout: float | None = None) -> None:
        """Waits until a promise can be made."""
        await self._client._run(*self._active(timeout))

    def new(self, suffix: str | bytes, *, timeout: float | None = None) -> Promise:
        """A promise on prefix and suffix, in effect at once; costs no traffic. `InactiveError`: not at this moment."""
        return self._make(suffix, timeout, None, later=False)

    def wait_new(self, suffix: str | bytes, *, timeout: float | None = None, wait: float | None = None) -> Promise:
        """A promise that is made as soon as the set is active, within `wait` seconds; `timeout` counts from then."""
        return self._make(suffix, timeout, wait, later=True)

    def _make(self, suffix: str | bytes, timeout: float | None, wait: float | None, later: bool) -> Promise:
        begin, what = self._new(suffix, timeout, wait, later)
        return Promise(self._client, *self._client._begin(begin, what), what)

    async def close(self) -> None:
        """Closes; its promises end with `ClosedError`."""
        self.close_nowait()

    async def __aenter__(self) -> Self:
        try:
            await self.wait_active()
        except BaseException:
            self.close_nowait()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.close()


class Gather(CoreGather):
    """The answers to one request: `async for`, or `all()`. Leaving the loop or `async with` early gives the request up."""

    _client: Client
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, client: Client, *arguments: Any) -> None:
        client._here("gather")
        super().__init__(client, client._reply, *arguments)
        client._gathers[self._token] = self

    def _came_in(self, record: Record) -> None:
        self._take(record)
        self._wake()

    def _abandon(self) -> None:
        super()._abandon()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and not self._client._loop.is_closed():
            self._waiter.set_result(None)

    async def _more(self) -> Answer | None:
        """The next answer; None at the end."""
        while not self._came:
            if self._last is not None:
                return None
            if self._waiter is not None:
                raise failure(core.BUSY, self._what, "another task reads its answers")
            self._waiter = self._client._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self.cancel()
                raise
            finally:
                self._waiter = None
        return self._next()

    def __aiter__(self) -> Answers:
        return Answers(self)

    async def all(self) -> Result:
        """Waits for its end, and returns everything."""
        answers = [answer async for answer in self]
        assert self.end is not None
        return dataclasses.replace(self.end, answers=answers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()


class Answers:
    """One iteration of a gather's answers; dropped before the end it gives the request up."""

    __slots__ = ("_gather",)

    def __init__(self, gather: Gather) -> None:
        self._gather = gather

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> Answer:
        answer = await self._gather._more()
        if answer is None:
            raise StopAsyncIteration
        return answer

    def __del__(self) -> None:
        self._gather.cancel()


class Responder(CoreResponder):
    """Serves until it is closed: `drain` lets what is in work finish, `close` does not."""

    _client: Client

    def __init__(self, client: Client, *arguments: Any) -> None:
        self._working: dict[int, asyncio.Task[None]] = {}
        self._gone = client._loop.create_future()
        super().__init__(client, *arguments)
        self._take_requests()

    def _begin(self, request: Request) -> None:
        ticket = request._ticket
        self._working[ticket] = self._client._keep(self._handle_one(request), partial(self._left, ticket))

    def _left(self, ticket: int, task: asyncio.Task[None]) -> None:
        self._client._tasks.discard(task)
        del self._working[ticket]
        self._end(ticket)

    def _cancelled(self, ticket: int) -> None:
        if ticket in self._working:
            self._working[ticket].cancel()

    async def _handle_one(self, request: Request) -> None:
        ticket = request._ticket
        self._trace(request)
        try:
            said = self._handler(request)
            if inspect.isawaitable(said):
                said = await said
            if isinstance(said, (bytes, str, Reply)):
                self._say(ticket, said, last=True)
            elif isinstance(said, AsyncIterator):
                async for part in said:
                    self._say(ticket, part, last=False)
            elif isinstance(said, Iterator):
                for part in said:
                    self._say(ticket, part, last=False)
            elif said is not None:
                self._say(ticket, said, last=True)
        except Exception as error:
            self._fail(ticket, error)

    async def wait_closed(self) -> None:
        """Waits until it is closed, by whomever."""
        await asyncio.shield(self._gone)

    async def drain(self, timeout: float | None = None) -> None:
        """Takes nothing new, waits until what is in work has finished, and closes. A closed one is left alone."""
        try:
            if not self._closed:
                await self._client._run(*self._timed(lib.responder_drain, timeout))
        finally:
            self.close_nowait()

    async def close(self) -> None:
        """Closes at once: handlers are cancelled, and their askers told."""
        self.close_nowait()
        others = [task for task in self._working.values() if task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)

    def _release(self) -> None:
        super()._release()
        if self._client._loop.is_closed():
            return
        if not self._gone.done():
            self._gone.set_result(None)
        running = asyncio.current_task() if _running_loop() is self._client._loop else None
        for task in list(self._working.values()):
            if task is not running:
                task.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
