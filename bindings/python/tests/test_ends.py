"""How the asyncio client ends: at once, in the middle of its close, half made; and what is closed already."""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import redmux
import redmux.sync
from redmux._native import lib

from .support import WithServer, held, left

NOBODY = "redis://127.0.0.1:1"


async def close_at_once(client: redmux.Client) -> None:
    client.close_nowait()


async def cancel_the_close(client: redmux.Client) -> None:
    closing = asyncio.create_task(client.close(math.inf))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


async def fail_to_begin_the_close(client: redmux.Client) -> None:
    with mock.patch.object(lib, "client_close_begin", lambda *_: -500):
        await client.close()


class Ends(WithServer):
    ways: tuple[Callable[[redmux.Client], Awaitable[None]], ...] = close_at_once, cancel_the_close, fail_to_begin_the_close

    async def ends_with_closed(self, client: redmux.Client, close: Any, waits: dict[str, Any]) -> None:
        tasks = {asyncio.ensure_future(work): what for what, work in waits.items()}
        await asyncio.sleep(0)
        self.assertEqual([what for task, what in tasks.items() if task.done()], [])
        await close(client)
        _, waiting = await asyncio.wait(tasks, timeout=20)
        self.assertEqual([tasks[task] for task in waiting], [])
        for task, what in tasks.items():
            with self.subTest(what), self.assertRaises(redmux.ClosedError):
                await task

    def test_whatever_waits_ends_with_closed_however_the_client_is_closed(self) -> None:
        async def run(close: Any) -> None:
            client = await redmux.connect(NOBODY, lazy=True)
            sub, promises = client.subscribe_nowait("x"), client.promises("p:")
            waits = {
                "publish": client.publish("x", "y", timeout=math.inf),
                "flush": client.flush(math.inf),
                "barrier": client.barrier(math.inf),
                "ready": client.ready(math.inf),
                "subscribe": client.subscribe("z", timeout=math.inf)._make(),
                "pattern": client.subscribe(pattern="z*", timeout=math.inf)._make(),
                "add": sub.add("z", timeout=math.inf),
                "active": sub.wait_active(math.inf),
                "promise": client.promise("q", timeout=math.inf),
                "set": promises.wait_active(math.inf),
                "new": promises.wait_new("q", timeout=math.inf, wait=math.inf)._wait(),
                "request": client.request("s", timeout=3600),
                "respond": client.respond("s", lambda request: None, timeout=math.inf)._make(),
                "next": sub.next(),
            }
            await self.ends_with_closed(client, close, waits)

        for close in self.ways:
            with self.subTest(close.__name__):
                self.run_async(run(close))

    def test_a_promise_that_is_in_effect_ends_with_closed_however_the_client_is_closed(self) -> None:
        async def run(close: Any) -> None:
            client = await redmux.connect(self.server.url)
            promise = await client.promise("q", timeout=math.inf)
            await self.ends_with_closed(client, close, {"promise": promise._wait()})

        for close in self.ways:
            with self.subTest(close.__name__):
                self.run_async(run(close))

    def test_a_task_that_is_cancelled_cancels_a_promise_and_no_other_task(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client:
                promise = await client.promise("q", timeout=math.inf)
                one, other = asyncio.create_task(promise._wait()), asyncio.create_task(promise._wait())
                await asyncio.sleep(0)
                one.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await one
                with self.assertRaises(redmux.CancelledError):
                    await other
                self.assertEqual(client._ops, {})

        self.run_async(run())

    def test_a_client_that_cannot_be_made_leaves_nothing(self) -> None:
        async def run() -> None:
            loop, start = asyncio.get_running_loop(), threading.Thread.start

            def no_thread(thread: threading.Thread) -> None:
                if thread.name == "redmux-reader":
                    raise RuntimeError("can't start new thread")
                start(thread)

            full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            blind = mock.patch.object(loop, "add_reader", side_effect=NotImplementedError)
            for what, error, broken in (
                ("inbox", redmux.FullError, [mock.patch.object(lib, "inbox_new", lambda *_: -500)]),
                ("descriptor", redmux.FullError, [mock.patch.object(lib, "client_fd", lambda *_: -500)]),
                ("dup", OSError, [mock.patch("os.dup", side_effect=full)]),
                ("reader", OSError, [mock.patch.object(loop, "add_reader", side_effect=full)]),
                ("thread", RuntimeError, [blind, mock.patch.object(threading.Thread, "start", no_thread)]),
            ):
                with self.subTest(what):
                    before = held()
                    for one in broken:
                        one.start()
                    try:
                        with self.assertRaises(error):
                            await redmux.connect(NOBODY, lazy=True)
                    finally:
                        for one in reversed(broken):
                            one.stop()
                    self.assertEqual(lib.debug_live(), 0)
                    self.assertEqual(left(before), (0, 0), "descriptors, threads")
                    self.assertEqual(held(), before, "nor was one closed that is somebody else's")

        said: list[Any] = []
        with mock.patch.object(sys, "unraisablehook", said.append):
            self.run_async(run())
            gc.collect()
        self.assertEqual(said, [])

    def test_a_close_between_two_turns_of_a_loop_leaves_nothing(self) -> None:
        before = held()
        for _ in range(20):
            loop = asyncio.new_event_loop()
            client = loop.run_until_complete(redmux.connect(self.server.url)._make())
            client.close_nowait()
            loop.close()
        self.assertEqual(left(before), (0, 0), "descriptors, threads")

    def test_a_responder_that_is_closed_cannot_be_drained(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client:
                responder = await client.respond("x", lambda request: None)
                await responder.drain()
                other = await client.respond("x", lambda request: None)
                await other.close()
                for closed in (responder, other):
                    with self.assertRaises(redmux.ClosedError):
                        await closed.drain()

        self.run_async(run())
        with redmux.sync.connect(self.server.url) as client:
            first = client.respond("x", lambda request: None)
            first.drain()
            other = client.respond("x", lambda request: None)
            other.close()
            for closed in (first, other):
                with self.assertRaises(redmux.ClosedError):
                    closed.drain()

    def test_a_callback_subscription_that_overflows_says_so(self) -> None:
        async def run() -> None:
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def on_message(_: redmux.Message) -> None:
                begun.set()
                await go_on.wait()

            async with redmux.connect(self.server.url) as client:
                sub = await client.subscribe("x", on_message=on_message, inbox_records=1, inbox_policy="close")
                await client.publish("x", "at work")
                await begun.wait()
                for _ in range(3):
                    await client.publish("x", "waits")
                await client.barrier()
                calling = set(client._tasks)
                go_on.set()
                await asyncio.wait(calling)
                await sub.close()

        with self.assertLogs("redmux") as logged:
            self.run_async(run())
            gc.collect()
        self.assertIn("its inbox was full", "\n".join(logged.output))
