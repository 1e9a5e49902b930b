"""The steps of scenarios that ask and serve."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import redmux
from scenario_words import Failed, Step, limit, name, raw

if TYPE_CHECKING:
    from scenario import Objects


class Handled:
    """A request that a handler works on as the steps tell it."""

    def __init__(self, request: redmux.Request) -> None:
        self.request = request
        self.orders: asyncio.Queue[Step] = asyncio.Queue()
        self.said, self.left = asyncio.Event(), asyncio.Event()
        self.cancelled = self.over = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled = self.over = True
            raise
        except BaseException:
            self.over = True
            raise
        finally:
            if self.over:
                self.said.set()
                self.left.set()

    async def next(self) -> redmux.Reply | None:
        """What the next step says, None for nothing."""
        step = await self.orders.get()
        self.over = step["do"] != "answer" or step.get("last", True)
        if step["do"] == "fail" and "code" in step:
            retriable = step.get("retriable", False)
            raise redmux.RemoteError(step.get("message", ""), remote_code=step["code"], retriable=retriable)
        if step["do"] == "fail":
            raise ValueError("a handler that fails")
        return redmux.Reply(raw(step.get("data", "")), headers=step.get("headers")) if step["do"] == "answer" else None

    async def work(self) -> Any:
        """One answer, or several of them."""
        with self.watched():
            reply = await self.next()
            return reply if self.over else self.parts(reply)

    async def parts(self, reply: redmux.Reply | None) -> AsyncIterator[redmux.Reply]:
        with self.watched():
            while reply is not None:
                yield reply
                self.said.set()
                reply = None if self.over else await self.next()


class Requests:
    """What asks and what serves."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.gathers: dict[str, list[redmux.Gather]] = {}
        self.responders: dict[str, redmux.Responder] = {}
        self.came: dict[str, asyncio.Queue[Handled]] = {}
        self.handled: dict[str, Handled] = {}

    def clear(self) -> None:
        for held in (self.gathers, self.responders, self.came, self.handled):
            held.clear()

    async def do_gather(self, step: Step) -> None:
        client, stop = self.objects.client(step), raw(step["until"]) if "until" in step else None
        self.gathers[step["as"]] = [
            client.gather(
                name(step["service"]), raw(step.get("data", ""), n), timeout=limit(step), headers=step.get("headers"),
                until=None if stop is None else lambda answer: answer.data == stop, **step.get("options", {}),
            )
            for n in range(step.get("times", 1))
        ]

    async def do_ask(self, step: Step) -> bytes:
        answer = await self.objects.client(step).request(
            name(step["service"]), raw(step.get("data", "")), timeout=limit(step), headers=step.get("headers"),
            **step.get("options", {}),
        )
        return answer.data

    async def ended(self, step: Step) -> None:
        for n, gather in enumerate(self.gathers.pop(step["as"])):
            result = await gather.all()
            if step.get("reason", result.reason) != result.reason or step.get("expected", result.expected) != result.expected:
                raise Failed(f"repetition {n} ended so: {result}")
            if "missing" in step and sorted(result.missing) != sorted(step["missing"]):
                raise Failed(f"missing are {result.missing}")
            for key, came in (("answers", list(result.answers)), ("errors", list(result.errors))):
                for wanted in step.get(key, ()):
                    found = [at for at, one in enumerate(came) if fits(one, wanted, n)]
                    if not found or (step.get("in_order") and found[0] != 0):
                        raise Failed(f"{wanted} is not (here) among {came} of repetition {n}")
                    del came[found[0]]
                if key in step and came:
                    raise Failed(f"more came in repetition {n}: {came}")

    async def do_respond(self, step: Step) -> None:
        key = step.get("responder", "r")
        came: asyncio.Queue[Handled] = asyncio.Queue()

        def handle(request: redmux.Request) -> Any:
            if step.get("does") == "echo":
                return request.data
            handled = Handled(request)
            came.put_nowait(handled)
            return handled.work()

        responder = self.objects.client(step).respond(
            name(step["service"]), handle, timeout=limit(step), **step.get("options", {})
        )
        self.responders[key], self.came[key] = await responder, came

    async def do_request(self, step: Step) -> None:
        async with asyncio.timeout(limit(step)):
            handled = await self.came[step.get("responder", "r")].get()
        request, headers = handled.request, step.get("headers", {})
        right = name(step["service"]) == request.service if "service" in step else True
        right &= raw(step["data"]) == request.data if "data" in step else True
        right &= step.get("id", request.id) == request.id
        if not right or not headers.items() <= request.headers.items():
            raise Failed(f"the request is {request!r} with {request.headers}")
        self.handled[step.get("request", "q")] = handled

    async def order(self, step: Step) -> None:
        handled = self.handled[step.get("request", "q")]
        if handled.left.is_set():
            raise Failed("its handler has left")
        handled.said.clear()
        handled.orders.put_nowait(step)
        await (handled.left if step["do"] != "answer" or step.get("last", True) else handled.said).wait()

    do_answer = do_end = do_fail = order

    async def do_cancelled(self, step: Step) -> None:
        handled = self.handled[step.get("request", "q")]
        async with asyncio.timeout(limit(step)):
            await handled.left.wait()
        if not handled.cancelled:
            raise Failed("its handler ended by itself")

    def nothing(self, step: Step) -> None:
        if not self.came[step["responder"]].empty():
            raise Failed("there is a request")


def fits(came: Any, wanted: Step, n: int) -> bool:
    if isinstance(came, redmux.RemoteError):
        pairs = {"code": came.remote_code, "message": came.message, "retriable": came.retriable, "from": came.responder}
        return all(pairs[key] == value for key, value in wanted.items())
    right = raw(wanted["data"], n) == came.data and wanted.get("from", came.responder) == came.responder
    return bool(right and wanted.get("headers", {}).items() <= came.headers.items())
