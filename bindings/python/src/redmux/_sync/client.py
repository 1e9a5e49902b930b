"""The synchronous client: its thread for callbacks, and everything that one does with it."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import _errors as errors
from .._calls import SLICE, UNSET, attempt_option, check, undone
from .._buffer import Answer, Headers, Request
from .._native import lib
from .._records import ACTIVE, PROMISE, Active, Dropped, Lost, Message
from .gather import Gather
from .operations import Operations, Replies
from .promises import Promise, Promises
from .responder import Responder
from .subscription import Handler, Subscription


def connect(
    url: str | None = None, *, lazy: bool = False, connect_timeout: float | None = None,
    address: Callable[[], Any] | None = None, credentials: Callable[[], Any] | None = None,
    on_state: Callable[[str, str], None] | None = None, **options: Any,
) -> "Client":
    """Connects, as `redmux.connect` does. address, credentials and on_state are called on a thread of the client.

    >>> client = redmux.sync.connect("redis://localhost")
    >>> client.publish("news", "hi")
    0
    >>> client.close()
    """
    client = Client(url, address, credentials, on_state, {**attempt_option(connect_timeout), **options})
    if not lazy:
        with undone(partial(client.close, timeout=0.1)):
            client.ready(5 if connect_timeout is None else connect_timeout)
    return client


class Client(Operations):
    """The synchronous client. May be used from any thread."""

    def ready(self, timeout: float | None = None) -> None:
        """Waits until the subscriber link is up."""
        self._run(*self._operation(lib.client_ready, "connect", timeout))

    def publish(self, channel: str | bytes, data: Any = None, *, json: Any = UNSET, timeout: float | None = None) -> int:
        """Publishes, and returns how many received it.

        >>> client.publish("news", json={"sport": "2:1"})
        0
        """
        return self._run(*self._publish(channel, data, json, timeout)).number

    def flush(self, timeout: float | None = None) -> None:
        """Waits until everything that was published and posted before is answered."""
        self._run(*self._operation(lib.client_flush, "flush", timeout))

    def barrier(self, timeout: float | None = None) -> None:
        """Waits until everything that was published before can be read here, where it is subscribed."""
        self._run(*self._operation(lib.client_barrier, "barrier", timeout))

    def authenticate(self, user: str | None, password: str, timeout: float | None = None) -> None:
        """New credentials for the live connections and all later ones."""
        self._run(*self._authenticate(user, password, timeout))

    def subscribe(
        self, *channels: str | bytes, pattern: str | bytes | None = None, timeout: float | None = None,
        on_message: Handler | None = None, on_lost: Handler | None = None, on_active: Handler | None = None,
        on_dropped: Handler | None = None, **options: Any,
    ) -> Subscription:
        """Subscribes and waits until Redis confirmed it. Callbacks run on one thread of the client.

        That thread also hands requests to the client's responders: a callback that asks one of them waits for itself.

        >>> heard = queue.SimpleQueue()
        >>> with client.subscribe(on_message=heard.put) as sub:
        ...     sub.add("my_channel")
        ...     client.publish("my_channel", "hello")
        ...     heard.get(timeout=5)
        1
        Message('my_channel', b'hello')
        """
        handlers = {Message: on_message, Lost: on_lost, Active: on_active, Dropped: on_dropped}
        sub = self._subscription(Subscription, channels, pattern, options)
        with undone(sub.close):
            if pattern is not None:
                self._run(*sub._open_pattern(timeout))
            elif channels:
                sub.add(*channels, timeout=timeout)
            if any(handlers.values()):
                self._need_thread()
                self._callbacks[sub._inbox] = (sub, handlers)
                self._attend(sub._inbox)
        return sub

    def subscribe_nowait(self, *channels: str | bytes, pattern: str | bytes | None = None, **options: Any) -> Subscription:
        """Subscribes without waiting for Redis; `wait_active` waits."""
        return self._subscribe_nowait(Subscription, channels, pattern, options)

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
        promise = Promise(self, *self._promise(name, timeout))
        if promise._until(ACTIVE, PROMISE).kind == PROMISE:  # it ended before it was in effect
            promise.wait()
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
        with undone(made.close):
            self._run(*made._operation(lib.responder_active, made._what, timeout))
        return made

    def serve(self, timeout: float | None = None) -> None:
        """Serves what `@client.responder` collected, until Ctrl-C or a close; then lets what is in work finish."""
        def mine() -> list[Responder]:  # by the client's list: a request, and Ctrl-C, may come before a call here is over
            return [made for made in list(self._responders.values()) if made._handler in [one[1] for one in self._collected]]

        try:
            for service, handler, options in self._collected:
                made = Responder(self, service, handler, {**options, "timeout": None})
                self._run(*made._operation(lib.responder_active, made._what, options.get("timeout")))
            while mine():
                time.sleep(SLICE / 1000)
        finally:
            for made in mine():
                try:
                    made.drain(timeout)
                except errors.Error as error:
                    made._not_drained(error)

    # --- the end

    def close(self, timeout: float = 5.0) -> None:
        """Lets publishes finish for so long, ends everything that waits, and disconnects. A second call is harmless."""
        begin, what = self._operation(lib.client_close_begin, "close", timeout)
        if not self._leave():
            return
        try:
            with contextlib.suppress(errors.Error):  # publishes have no answer yet, or it is gone already
                replies, token = Replies(self), next(self._tokens)
                check(begin(replies.inbox, token), what)
                self._wait(replies, token, what)
        finally:
            self._release()
