"""Handlers: the task and the context that each has, how it ends, and `serve`, which runs those that were collected."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import logging
import sys
import threading
from typing import Any

import redmux
import redmux.sync

from .support import WithServer, python

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


class Handlers(WithServer):
    def test_each_request_has_a_task_and_a_context_of_its_own(self) -> None:
        async def run() -> None:
            tasks = []

            async def handler(request: redmux.Request) -> str:
                tasks.append(asyncio.current_task())
                before = SEEN.get()
                SEEN.set(request.text())
                if request.text() == "waits":
                    await asyncio.sleep(0)
                return f"{before}, {SEEN.get()}"

            async with redmux.connect(self.server.url, strict=True) as client, client.respond("x", handler):
                for said in ("at once", "waits", "at once"):
                    self.assertEqual((await client.request("x", said)).text(), f"nothing, {said}")
            self.assertEqual(len(set(map(id, tasks))), 3)
            self.assertNotIn(None, tasks)

        self.run_async(run())

    def test_a_handler_may_limit_its_own_time(self) -> None:
        async def run() -> None:
            async def handler(request: redmux.Request) -> str:
                try:
                    async with asyncio.timeout(0.001):
                        await asyncio.Event().wait()
                except TimeoutError:
                    return "in time"
                return "late"

            async with redmux.connect(self.server.url) as client, client.respond("x", handler):
                self.assertEqual((await client.request("x")).text(), "in time")

        self.run_async(run())

    def test_a_request_ends_where_its_task_is_cancelled_before_it_began(self) -> None:
        async def run() -> None:
            begun = []

            async def handler(request: redmux.Request) -> str:
                begun.append(request.text())
                await asyncio.Event().wait()
                return "not cancelled"

            async with redmux.connect(self.server.url) as client, client.respond("x", handler) as responder:
                begin = responder._begin

                def begin_and_cancel(request: redmux.Request) -> None:
                    before = asyncio.all_tasks()
                    begin(request)
                    for task in asyncio.all_tasks() - before:
                        task.cancel()

                responder._begin = begin_and_cancel  # type: ignore[method-assign]
                result = await client.gather("x", "hi", timeout=30).all()
                self.assertEqual((result.reason, result.answers), ("all", []))
                self.assertEqual(begun, ["hi"] if sys.version_info >= (3, 12) else [])
                await responder.drain(30)  # nothing is in work any more

        self.run_async(run())

    def test_a_loop_with_a_task_factory_has_handlers_made_by_it(self) -> None:
        async def run() -> None:
            loop, made = asyncio.get_running_loop(), []

            def factory(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
                made.append(work.__name__)
                return asyncio.Task(work, loop=loop, **more)

            async def handler(request: redmux.Request) -> bytes:
                await asyncio.sleep(0)
                return request.data

            async with redmux.connect(self.server.url) as client, client.respond("x", handler) as responder:
                loop.set_task_factory(factory)
                self.assertEqual((await client.request("x", "hi")).text(), "hi")
                self.assertEqual((made, responder._working), (["_handle_one"], {}))

        self.run_async(run())

    def test_a_cancel_that_is_not_the_handlers_own_is_a_failure_like_any_other(self) -> None:
        async def run() -> None:
            async def cancels_what_it_awaits(_: Any) -> None:
                inner = asyncio.ensure_future(asyncio.Event().wait())
                asyncio.get_running_loop().call_soon(inner.cancel)
                await inner

            heard: asyncio.Queue[str] = asyncio.Queue()

            async def on_message(message: redmux.Message) -> None:
                heard.put_nowait(message.text())
                await cancels_what_it_awaits(message)

            async with redmux.connect(self.server.url, strict=True) as client, client.respond("x", cancels_what_it_awaits):
                with self.assertRaisesRegex(redmux.RemoteError, "CancelledError"):
                    await client.request("x")
                async with client.subscribe("y", on_message=on_message):
                    for said in ("one", "two"):
                        await client.publish("y", said)
                        self.assertEqual(await heard.get(), said)

        with self.assertLogs("redmux", logging.ERROR):
            self.run_async(run())

    def test_a_generator_is_stopped_where_nobody_waits_any_more(self) -> None:
        left = threading.Event()

        def endless(request: redmux.Request) -> Any:
            try:
                while True:
                    yield request.data
            finally:
                left.set()

        async def endless_too(request: redmux.Request) -> Any:
            try:
                while True:
                    yield request.data
            finally:
                left.set()

        async def run(handler: Any) -> None:
            async with redmux.connect(self.server.url) as client, client.respond("x", handler):
                self.assertEqual((await asyncio.to_thread(ask)).data, b"hi")

        def ask() -> redmux.Answer:
            with redmux.sync.connect(self.server.url) as asker:
                return asker.request("x", "hi")

        for handler in (endless, endless_too):
            left.clear()
            self.run_async(run(handler))
            self.assertTrue(left.is_set())
        left.clear()
        with redmux.sync.connect(self.server.url) as client, client.respond("x", endless):
            self.assertEqual(ask().data, b"hi")
            self.assertTrue(left.wait(30))

    def test_a_flood_of_requests_leaves_the_loop_to_others(self) -> None:
        async def run() -> None:
            turns, asked, done = 0, 0, asyncio.Event()

            async def other() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            with redmux.sync.connect(self.server.url, strict=True) as asker:
                gathers: list[Any] = []

                def ask(request: redmux.Request) -> bytes:
                    """Not over before the next is here, so that there is always one."""
                    nonlocal asked
                    asked += 1
                    if asked < 100:
                        gathers.append(asker.gather("x", timeout=30))
                        for _ in range(1_000_000):
                            if client.stats()["requests"]["services"][0]["requests"] > asked:
                                break
                    else:
                        done.set()
                    return b""

                async with redmux.connect(self.server.url) as client, client.respond("x", ask):
                    ticking = asyncio.create_task(other())
                    gathers.append(asker.gather("x", timeout=30))
                    await done.wait()
                    ticking.cancel()
                gathers.clear()
            self.assertGreater(turns, 50)

        self.run_async(run())

    def test_serve_serves_what_was_collected_and_lets_it_finish(self) -> None:
        async def run() -> None:
            begun, go_on = asyncio.Event(), asyncio.Event()
            async with redmux.connect(self.server.url) as client, redmux.connect(self.server.url, strict=True) as asker:
                @client.responder("slow", concurrency=2)
                async def slow(_: redmux.Request) -> str:
                    begun.set()
                    await go_on.wait()
                    return "finished"

                @client.responder("quick")
                def quick(_: redmux.Request) -> str:
                    return "quick"

                serving = asyncio.create_task(client.serve())
                await asyncio.to_thread(self.is_served, "quick")
                self.assertEqual((await asker.request("quick")).text(), "quick")
                asking = asyncio.create_task(asker.request("slow"))
                await begun.wait()
                serving.cancel()
                await asyncio.to_thread(self.is_served, "quick", 0)
                go_on.set()
                self.assertEqual((await asking).text(), "finished")
                with self.assertRaises(asyncio.CancelledError):
                    await serving
                serving = asyncio.create_task(client.serve())
                await asyncio.to_thread(self.is_served, "quick")
                await client.close()
                await serving

        self.run_async(run())

    def is_served(self, service: str, count: int = 1) -> None:
        while self.server.do("numsub", channel=f"redmux:svc:{service}") != count:
            threading.Event().wait(0.01)

    def test_serve_whose_handlers_take_too_long_ends_them_all_and_says_why_it_ended(self) -> None:
        async def run() -> None:
            begun = asyncio.Event()
            async with redmux.connect(self.server.url) as client, redmux.connect(self.server.url) as asker:
                @client.responder("slow")
                async def slow(_: redmux.Request) -> None:
                    begun.set()
                    await asyncio.Event().wait()

                client.responder("other")(lambda request: request.data)
                serving = asyncio.create_task(client.serve(timeout=0.1))
                await asyncio.to_thread(self.is_served, "other")
                asking = asker.gather("slow")
                await begun.wait()
                serving.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await serving
                self.assertEqual(((await asking.all()).reason, client._responders), ("failed", {}))

        with self.assertLogs("redmux", logging.WARNING) as logged:
            self.run_async(run())
        self.assertIn("<redmux responder of 'slow': closed> was left with requests in work", "\n".join(logged.output))

    def test_sync_serve_whose_handlers_take_too_long_ends_them_all_on_ctrl_c(self) -> None:
        with redmux.sync.connect(self.server.url) as client, redmux.sync.connect(self.server.url) as asker:
            go_on, asking = threading.Event(), []

            @client.responder("slow")
            def slow(_: redmux.Request) -> None:
                _thread.interrupt_main()
                go_on.wait(30)

            client.responder("other")(lambda request: request.data)

            def ask() -> None:
                self.is_served("other")
                asking.append(asker.gather("slow"))

            thread = threading.Thread(target=ask)
            thread.start()
            with self.assertLogs("redmux", logging.WARNING), self.assertRaises(KeyboardInterrupt):
                client.serve(timeout=0.1)
            thread.join()
            open_still = [made for made in list(client._responders.values()) if not made._closed]
            self.assertEqual((asking[0].all().reason, open_still), ("failed", []))
            go_on.set()

    def test_serve_that_is_cancelled_while_it_opens_lets_what_is_in_work_finish(self) -> None:
        async def run() -> None:
            begun, go_on = asyncio.Event(), asyncio.Event()
            async with redmux.connect(self.server.url) as client, redmux.connect(self.server.url) as asker:
                @client.responder("x")
                async def handler(_: redmux.Request) -> str:
                    begun.set()
                    await go_on.wait()
                    return "finished"

                wait, opening = client._run, asyncio.Event()

                async def opened_and_not_told(*operation: Any) -> Any:
                    client._run = wait  # type: ignore[method-assign]
                    await wait(*operation)
                    opening.set()
                    await asyncio.Event().wait()

                client._run = opened_and_not_told  # type: ignore[method-assign]
                serving = asyncio.create_task(client.serve())
                await opening.wait()
                asking = asyncio.create_task(asker.request("x"))
                await begun.wait()
                serving.cancel()
                await asyncio.to_thread(self.is_served, "x", 0)
                go_on.set()
                self.assertEqual((await asking).text(), "finished")
                with self.assertRaises(asyncio.CancelledError):
                    await serving

        self.run_async(run())

    def test_sync_serve_ends_on_ctrl_c_and_lets_handlers_finish(self) -> None:
        code = """
import _thread, sys, threading, redmux.sync
client = redmux.sync.connect(sys.argv[1])
other = redmux.sync.connect(sys.argv[1])
@client.responder("x")
def handler(request):
    _thread.interrupt_main()
    draining.wait(10)
    return "finished"
draining, got = threading.Event(), []
drain = redmux.sync.Responder.drain
redmux.sync.Responder.drain = lambda self, timeout: (draining.set(), drain(self, timeout))
def ask():
    while True:
        try:
            got.append(other.request("x").text())
            return
        except redmux.NoRespondersError:
            pass
thread = threading.Thread(target=ask)
thread.start()
try:
    client.serve()
except KeyboardInterrupt:
    print("interrupted")
thread.join()
print(got)
client.close()
other.close()
print(redmux._native.lib.debug_live())
"""
        ended = python(code, self.server.url)
        self.assertEqual((ended.stdout, ended.stderr), ("interrupted\n['finished']\n0\n", ""))
