"""Requests and responders where wrappers break: left early, cancelled, dropped, closed at bad moments, too many at once."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any

import redmux
import redmux.sync

from .support import WithServer, held, left, python

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Handler:
    """A handler that begins, waits, and notes how it was left."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: redmux.Request) -> bytes:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request.data


class Requests(WithServer):
    def test_breaking_off_an_iteration_tells_the_handler(self) -> None:
        async def run() -> None:
            left = asyncio.Event()

            async def endless(request: redmux.Request) -> Any:
                try:
                    while True:
                        yield request.data
                        await asyncio.sleep(0.001)
                finally:
                    left.set()

            async with redmux.connect(self.server.url, strict=True) as client, client.respond("x", endless):
                async for answer in client.gather("x", "hi"):
                    self.assertEqual(answer.data, b"hi")
                    break
                await left.wait()
                left.clear()
                async with client.gather("x", "hi") as answers:
                    async for _ in answers:
                        break
                await left.wait()
                self.assertEqual(client.stats()["requests"]["gathers"], 0)

        self.run_async(run())

    def test_cancelling_who_asks_cancels_who_works(self) -> None:
        async def run() -> None:
            handler = Handler()
            async with redmux.connect(self.server.url, strict=True) as client, client.respond("x", handler):
                for ask in (lambda: client.gather("x").all(), lambda: client.request("x")):
                    asking = asyncio.create_task(ask())
                    await handler.begun.wait()
                    asking.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await asking
                    await handler.cancelled.wait()
                    handler.__init__()  # type: ignore[misc]
                self.assertEqual(client.stats()["requests"]["gathers"], 0)

        self.run_async(run())

    def test_a_gather_that_is_dropped_is_given_up(self) -> None:
        async def run() -> None:
            handler = Handler()
            async with redmux.connect(self.server.url) as client, client.respond("x", handler):
                gather = client.gather("x")
                await handler.begun.wait()
                del gather
                await handler.cancelled.wait()
                self.assertEqual((client.stats()["requests"]["gathers"], len(client._gathers)), (0, 0))

        self.run_async(run())

    def test_closing_the_client_that_asks_ends_its_gathers_with_closed(self) -> None:
        async def run() -> None:
            handler = Handler()
            async with redmux.connect(self.server.url) as other, other.respond("x", handler):
                client = await redmux.connect(self.server.url)
                gather = client.gather("x")
                asking = [asyncio.create_task(gather.all()), asyncio.create_task(client.request("x"))]
                await handler.begun.wait()
                await client.close()
                self.assertEqual((await asking[0]).reason, "closed")
                with self.assertRaises(redmux.ClosedError):
                    await asking[1]
                with self.assertRaises(redmux.ClosedError):
                    client.gather("x")
                with self.assertRaises(redmux.ClosedError):
                    await client.respond("x", handler)

        self.run_async(run())

    def test_closing_the_client_that_works_cancels_its_handlers_and_tells_who_asks(self) -> None:
        async def run() -> None:
            handler = Handler()
            async with redmux.connect(self.server.url) as client:
                other = await redmux.connect(self.server.url)
                responder = await other.respond("x", handler)
                asking = asyncio.create_task(client.gather("x").all())
                await handler.begun.wait()
                await other.close()
                self.assertTrue(handler.cancelled.is_set())
                self.assertEqual((await asking).reason, "failed")
                await responder.close()
                await responder.wait_closed()

        self.run_async(run())

    def test_a_handler_may_close_its_own_responder_and_client(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url, strict=True) as client:
                for what in ("responder", "client"):
                    other = await redmux.connect(self.server.url)
                    left = asyncio.Event()

                    async def handler(_: redmux.Request) -> None:
                        await (responder if what == "responder" else other).close()
                        left.set()

                    responder = await other.respond("x", handler)
                    self.assertEqual((await client.gather("x").all()).reason, "failed")
                    await left.wait()
                    await other.close()

        self.run_async(run())

    def test_what_a_handler_returns_or_raises_is_what_the_asker_gets(self) -> None:
        async def run() -> None:
            async def fails(_: redmux.Request) -> None:
                raise KeyError("user")

            async def says(_: redmux.Request) -> None:
                raise redmux.RemoteError("no such user", remote_code="NOT_FOUND", retriable=True)

            def parts(request: redmux.Request) -> Any:
                yield "1"
                yield redmux.Reply(request.data, headers={"a": "b"})

            async def swallows(request: redmux.Request) -> Any:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return "too late"

            handlers = {
                "plain": lambda request: "text", "none": lambda request: None, "wrong": lambda request: {"a": 1},
                "parts": parts, "fails": fails, "says": says, "swallows": swallows,
            }
            async with redmux.connect(self.server.url, name="node", max_payload="64k", strict=True) as client:
                for service, handler in handlers.items():
                    await client.respond(service, handler)
                self.assertEqual((await client.request("plain", "x")).text(), "text")
                got = (await client.gather("parts", "2").all()).answers
                seen = [(a.text(), a.headers, a.number, a.responder) for a in got]
                self.assertEqual(seen, [("1", {}, 0, "node"), ("2", {"a": "b"}, 1, "node")])
                self.assertEqual((await client.gather("none").all()).error, None)
                with self.assertRaisesRegex(redmux.NoRespondersError, "nobody had an answer"):
                    await client.request("none")
                with self.assertRaises(redmux.RemoteError) as raised:
                    await client.request("says")
                error = raised.exception
                self.assertEqual(
                    (error.remote_code, error.message, error.retriable, error.responder, error.kind),
                    ("NOT_FOUND", "no such user", True, "node", "remote"),
                )
                with self.assertLogs("redmux", logging.ERROR):
                    with self.assertRaisesRegex(redmux.RemoteError, "KeyError"):
                        await client.request("fails")
                with self.assertLogs("redmux", logging.ERROR):
                    with self.assertRaisesRegex(redmux.RemoteError, "TypeError: a payload is bytes-like"):
                        await client.request("wrong")
                with self.assertRaises(redmux.TimeoutError):
                    await client.request("swallows", timeout=0.1)

        self.run_async(run())

    def test_a_thousand_requests_at_once_and_no_more_handlers_than_allowed(self) -> None:
        async def run() -> None:
            now = most = 0

            async def handler(request: redmux.Request) -> bytes:
                nonlocal now, most
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1
                return request.data

            async with redmux.connect(self.server.url, strict=True) as client, client.respond("many", handler, concurrency=7):
                answers = await asyncio.gather(*(client.request("many", str(n)) for n in range(1000)))
                self.assertEqual([answer.text() for answer in answers], [str(n) for n in range(1000)])
                self.assertLessEqual(most, 7)
                self.assertEqual((client.stats()["requests"]["gathers"], len(client._gathers)), (0, 0))

        self.run_async(run())

    def test_a_responder_without_room_is_busy(self) -> None:
        async def run() -> None:
            handler = Handler()
            async with redmux.connect(self.server.url, strict=True) as client, client.respond("x", handler, concurrency=1, waiting=0):
                first = client.gather("x")
                await handler.begun.wait()
                with self.assertRaises(redmux.BusyError) as raised:
                    await client.request("x")
                self.assertTrue(raised.exception.retriable and isinstance(raised.exception, redmux.FullError))
                first.cancel()
                self.assertEqual((await first.all()).reason, "cancelled")

        self.run_async(run())

    def test_what_is_not_said_of_a_request_is_as_the_client_has_it(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url + "?expect=1", name="one", strict=True) as client:
                await client.respond("x", lambda request: request.data, concurrency=3)
                for options in ({}, {"repeatable": True}, {"expect": 0}):
                    result = await client.gather("x", **options).all()
                    wanted = "all" if "expect" in options else "count"
                    self.assertEqual((result.reason, result.answers[0].responder), (wanted, "one"))

        self.run_async(run())

    def test_until_that_fails_raises_where_the_answers_are_read(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url, strict=True) as client, client.respond("x", lambda request: request.data):
                with self.assertRaises(ZeroDivisionError):
                    await client.gather("x", "hi", until=lambda answer: 1 / 0).all()
                with self.assertRaises(redmux.StateError):
                    gather = client.gather("x", "hi")
                    await asyncio.gather(gather.all(), gather.all())

        self.run_async(run())

    def test_a_trace_goes_on_through_a_handlers_own_requests(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url, strict=True) as client:
                async def middle(request: redmux.Request) -> bytes:
                    return (await client.request("last")).data

                await client.respond("last", lambda request: request.headers.get("traceparent", "none"))
                await client.respond("middle", middle)
                traced = await client.request("middle", headers={"traceparent": TRACE})
                self.assertEqual((traced.text(), (await client.request("middle")).text()), (TRACE, "none"))

        self.run_async(run())

    def test_requests_on_loops_without_add_reader(self) -> None:
        code = """
import asyncio, sys, redmux, redmux._native
async def main():
    async with redmux.connect(sys.argv[1], strict=True) as client, client.respond("loop", lambda request: request.data):
        for n in range(200):
            assert (await client.request("loop", str(n))).text() == str(n)
    print(redmux._native.lib.debug_live())
asyncio.run(main())
"""
        ended = python(code, self.server.url, REDMUX_NO_ADD_READER="1")
        self.assertEqual((ended.stdout, ended.stderr), ("0\n", ""))

    def test_a_storm_of_requests_left_early_leaves_nothing(self) -> None:
        async def leave_early(client: redmux.Client, turns: int) -> None:
            tasks = [asyncio.create_task(client.request("x")) for _ in range(50)]
            gathers = [client.gather("x") for _ in range(50)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            del gathers
            await asyncio.gather(*tasks, return_exceptions=True)

        async def run() -> None:
            async with redmux.connect(self.server.url) as client, client.respond("x", lambda request: request.data):
                for turn in range(20):
                    await leave_early(client, turn % 4)
                await client.barrier()
                self.assertEqual((client.stats()["requests"]["gathers"], len(client._gathers)), (0, 0))

        before = held()
        self.run_async(run())
        gc.collect()
        self.assertEqual(left(before), (0, 0), "descriptors, threads")

    # --- without await

    def test_sync_handlers_have_threads_no_more_than_allowed_and_none_is_left(self) -> None:
        lock, now, most = threading.Lock(), 0, 0
        both = threading.Barrier(3)

        def handler(request: redmux.Request) -> bytes:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            both.wait(10)
            with lock:
                now -= 1
            return request.data

        before = held()
        with redmux.sync.connect(self.server.url, strict=True) as client, client.respond("threads", handler, concurrency=3):
            gathers = [client.gather("threads", str(n)) for n in range(30)]
            self.assertEqual([gather.all().answers[0].text() for gather in gathers], [str(n) for n in range(30)])
        self.assertEqual(most, 3)
        del gathers
        gc.collect()
        self.assertEqual(left(before), (0, 0), "descriptors, threads")

    def test_a_sync_handler_is_told_that_nobody_waits(self) -> None:
        begun, told = threading.Event(), threading.Event()

        def handler(request: redmux.Request) -> str:
            begun.set()
            request.cancelled.wait(10)
            told.set()
            return "nobody hears it"

        with redmux.sync.connect(self.server.url, strict=True) as client, client.respond("x", handler):
            for leave in (lambda gather: gather.cancel(), lambda gather: None):
                gather = client.gather("x")
                self.assertTrue(begun.wait(10))
                leave(gather)
                del gather
                gc.collect()
                self.assertTrue(told.wait(10))
                begun.clear()
                told.clear()
            with self.assertRaises(redmux.TimeoutError):
                client.request("x", timeout=0.1)

    def test_closing_a_sync_client_ends_a_blocked_gather_and_its_handlers(self) -> None:
        begun, ended = threading.Event(), []

        def handler(request: redmux.Request) -> None:
            begun.set()
            request.cancelled.wait(10)

        client = redmux.sync.connect(self.server.url)
        client.respond("x", handler)
        gather = client.gather("x")
        thread = threading.Thread(target=lambda: ended.append(gather.all().reason))
        thread.start()
        self.assertTrue(begun.wait(10))
        client.close()
        thread.join(10)
        self.assertEqual(ended, ["closed"])
        del gather
        gc.collect()
