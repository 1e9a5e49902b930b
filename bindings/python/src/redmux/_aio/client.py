"""The asyncio client: what it hears through its reader, and everything that one does with it."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from .._calls import OK, UNSET, attempt_option, undone
from .._buffer import Answer, Headers, Request
from .._errors import Error
from .._native import lib
from .._records import Active, Dropped, Lost, Message
from .gather import Gather
from .operations import Entered, Operations
from .promises import Promise, Promises
from .responder import Responder
from .subscription import Handler, Subscription


T = TypeVar("T", bound=Entered)


class Opening(Generic[T]):
    """What `connect` and `subscribe` return: `await` it, or enter it with `async with`."""

    _made: T

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make

    def __await__(self) -> Generator[Any, None, T]:
        return self._make().__await__()

    async def __aenter__(self) -> T:
        self._made = await self._make()
        return self._made

    async def __aexit__(self, *_: object) -> None:
        await self._made.close()


def connect(
    url: str | None = None, *, lazy: bool = False, connect_timeout: float | None = None,
    address: Callable[[], Any] | None = None, credentials: Callable[[], Any] | None = None,
    on_state: Callable[[str, str], None] | None = None, **options: Any,
) -> Opening["Client"]:
    """Connects, and waits until the link is up or `connect_timeout` (5 seconds; math.inf is for ever) is over.

    url: None is the environment's (`REDIS_URL`, else `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, else localhost:6379).
    connect_timeout: where it is given, one attempt may take as long too (at most 10 minutes); else that is the option's, which an
    address may have. lazy: return at once; the server may come later. address, credentials: asked at each attempt to connect; they return
    `(host, port)` or the path of a socket, and `(user, password)`, a password or None, and may be coroutines. on_state: called
    with each change and its reason. options: those of docs/options.md, durations in seconds.

    >>> async with redmux.connect("redis://localhost", name="api-3", ping_interval=2) as client:
    ...     await client.publish("news", "hi")
    0
    """

    async def make() -> Client:
        client = Client(url, address, credentials, on_state, {**attempt_option(connect_timeout), **options})
        if not lazy:
            try:
                await client.ready(5 if connect_timeout is None else connect_timeout)
            except BaseException:
                await client.close(timeout=0.1)
                raise
        return client

    return Opening(make)


class Client(Operations):
    """One connection to hear and one to speak, made again for ever. Belongs to the loop that it was made in."""

    async def ready(self, timeout: float | None = None) -> None:
        """Waits until the subscriber link is up; the `TimeoutError` says why the last attempt failed.

        >>> await client.ready(timeout=5)
        """
        await self._run(*self._operation(lib.client_ready, "connect", timeout))

    async def publish(self, channel: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None) -> int:
        """Publishes, and returns how many received it. `NotSentError`: repeat it if you like; `UnknownError`: nobody knows.

        >>> await client.publish("news", json={"sport": "2:1"})
        0
        """
        return (await self._run(*self._publish(channel, data, json, timeout))).number

    async def flush(self, timeout: float | None = None) -> None:
        """Waits until everything that was published and posted before is answered.

        >>> await client.flush()
        """
        await self._run(*self._operation(lib.client_flush, "flush", timeout))

    async def barrier(self, timeout: float | None = None) -> None:
        """Waits until everything that was published before can be read here, where it is subscribed.

        >>> await client.barrier()
        """
        await self._run(*self._operation(lib.client_barrier, "barrier", timeout))

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
            sub = self._subscription(Subscription, channels, pattern, options)
            with undone(sub.close_nowait):
                if pattern is not None:
                    await self._run(*sub._open_pattern(timeout))
                elif channels:
                    await sub.add(*channels, timeout=timeout)
            sub._call(handlers)
            return sub

        return Opening(make)

    def subscribe_nowait(self, *channels: str | bytes, pattern: str | bytes | None = None, **options: Any) -> Subscription:
        """Subscribes without waiting for Redis; `wait_active` waits.

        >>> sub = client.subscribe_nowait("news")
        >>> await sub.wait_active()
        >>> await sub.close()
        """
        return self._subscribe_nowait(Subscription, channels, pattern, options)

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
        begin, what = self._promise(name, timeout)
        token, pending = self._begin(begin, what)
        promise = Promise(self, token, pending, what)
        active = self._actives[token] = self._loop.create_future()
        try:
            with undone(promise.cancel):
                await asyncio.wait((active, pending), return_when=asyncio.FIRST_COMPLETED)
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
            with undone(made.close_nowait):
                await self._run(*made._operation(lib.responder_active, made._what, timeout))
            return made

        return Opening(make)

    async def serve(self, timeout: float | None = None) -> None:
        """Serves what `@client.responder` collected, until it is cancelled or the client closed.

        A cancel takes nothing new and lets what is in work finish, for `timeout` seconds.
        """
        async def finished(made: Responder) -> None:
            try:
                await made.drain(timeout)
            except Error as error:
                made._not_drained(error)

        self._here("serve")
        async with contextlib.AsyncExitStack() as stack:
            opened = []
            for service, handler, options in self._collected:
                made = Responder(self, service, handler, {**options, "timeout": None})
                stack.push_async_callback(finished, made)  # before anything is waited for: a request may be in work
                opened.append(made)
                await self._run(*made._operation(lib.responder_active, made._what, options.get("timeout")))
            await asyncio.gather(*(made.wait_closed() for made in opened))

    # --- the end

    async def close(self, timeout: float = 5.0) -> None:
        """Lets publishes finish for so long, ends everything that waits, and disconnects. A second call is harmless."""
        begin, _ = self._operation(lib.client_close_begin, "close", timeout)
        if not self._leave():
            return
        token, done = next(self._tokens), self._loop.create_future()
        self._ops[token] = done
        try:
            if begin(self._reply, token) == OK:
                await done
        finally:
            self._release()
            others = [task for task in self._tasks if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
