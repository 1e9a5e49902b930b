"""Where wrappers break: closes at bad moments, cancels, leaks, forks, exits, loops and threads."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import redmux
import redmux.sync
from redmux._native import lib

from .support import HERE, WithServer, held, left, python


class Edges(WithServer):
    def test_use_after_close_raises_closed(self) -> None:
        async def run() -> None:
            client = await redmux.connect(self.server.url)
            sub, promises = await client.subscribe("x"), client.promises("p:")
            await client.close()
            await client.close()
            for call in (
                lambda: client.publish("x", "y"), client.flush, client.barrier, client.ready, lambda: client.subscribe("y"),
                lambda: sub.add("z"), sub.next, sub.clear, promises.wait_active, lambda: client.promise("q"),
            ):
                with self.assertRaises(redmux.ClosedError):
                    await call()
            for plain in (lambda: client.post("x", "y"), client.stop, client.stats, lambda: promises.new("a"), sub.next_nowait):
                with self.assertRaises(redmux.ClosedError):
                    plain()
            self.assertEqual([m async for m in sub], [])

        self.run_async(run())

    def test_close_ends_a_blocked_read_and_every_wait(self) -> None:
        async def run() -> None:
            client = await redmux.connect(self.server.url)
            sub, other = await client.subscribe("x"), await client.subscribe("y")

            async def read() -> list[Any]:
                return [m async for m in sub]

            reading = asyncio.create_task(read())
            waiting = asyncio.create_task(other.next())
            promise = await client.promise("p", timeout=float("inf"))
            kept = asyncio.create_task(promise._wait())
            await asyncio.sleep(0)
            await client.close()
            self.assertEqual(await reading, [])
            for task in (waiting, kept):
                with self.assertRaises(redmux.ClosedError):
                    await task

        self.run_async(run())

    def test_close_ends_a_blocked_read_of_another_thread(self) -> None:
        client = redmux.sync.connect(self.server.url)
        sub = client.subscribe("x")
        begun, got = threading.Event(), []

        def read() -> None:
            begun.set()
            got.append([m.data for m in sub])

        thread = threading.Thread(target=read)
        thread.start()
        begun.wait()
        client.close()
        thread.join(10)
        self.assertEqual(got, [[]])

    def test_a_handler_may_close_the_client(self) -> None:
        async def run() -> None:
            closed = asyncio.Event()
            client = await redmux.connect(self.server.url)

            async def on_message(_: redmux.Message) -> None:
                await client.close()
                closed.set()

            await client.subscribe("x", on_message=on_message)
            client.post("x", "y")
            await closed.wait()
            with self.assertRaises(redmux.ClosedError):
                await client.flush()

        self.run_async(run())
        ended = threading.Event()
        sync = redmux.sync.connect(self.server.url)
        sync.subscribe("x", on_message=lambda _: (sync.close(), ended.set()))
        sync.post("x", "y")
        self.assertTrue(ended.wait(10))

    def test_a_second_reader_is_told(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client, client.subscribe("x") as sub:
                first = asyncio.create_task(sub.next())
                while sub._inbox not in client._waiters:
                    await asyncio.sleep(0)
                with self.assertRaises(redmux.StateError):
                    await sub.next()
                client.post("x", "y")
                self.assertEqual((await first).data, b"y")

        self.run_async(run())

    def test_a_storm_of_cancels_leaves_nothing(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client, client.promises("p:") as promises:
                sub = await client.subscribe("x")
                for turn in range(20):
                    tasks = [asyncio.create_task(client.publish("x", "y")) for _ in range(20)]
                    tasks += [asyncio.create_task(sub.add(f"c{n}")) for n in range(20)]  # type: ignore[misc]
                    tasks += [asyncio.create_task(promises.new(f"{n}")._wait()) for n in range(20)]  # type: ignore[misc]
                    for _ in range(turn % 3):
                        await asyncio.sleep(0)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                promises.clear()  # those whose tasks had not begun to wait
                await client.barrier()
                self.assertEqual(client._ops, {})
                self.assertEqual(client.stats()["operations"], 0)

        self.run_async(run())

    def test_a_subscribe_that_is_cancelled_leaves_no_subscription(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client:
                self.server.do("freeze")
                pending = asyncio.create_task(client.subscribe("gone")._make())
                await asyncio.sleep(0)
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)
                self.server.do("thaw")
                while self.server.do("numsub", channel="gone") != 0:
                    await client.barrier()  # what Redis is asked to let go of is gone a moment later

        self.run_async(run())

    def test_a_thousand_subscriptions_opened_and_closed_leave_nothing(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client:
                for _ in range(10):
                    subs = [client.subscribe_nowait(f"c{n}") for n in range(100)]
                    await subs[-1].wait_active()
                    for sub in subs:
                        await sub.close()
                await client.barrier()
                self.assertEqual(client.stats()["sources"], 0)

        before = held()
        self.run_async(run())
        gc.collect()
        self.assertEqual(left(before), (0, 0), "descriptors, threads")

    def test_what_is_dropped_without_close_is_closed_and_said(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client:
                sub: Any = await client.subscribe("x")
                with self.assertWarnsRegex(ResourceWarning, "was not closed"):
                    del sub
                    gc.collect()
                await client.barrier()
                self.assertEqual(self.server.do("numsub", channel="x"), 0)

        async def drop() -> None:
            client: Any = await redmux.connect(self.server.url)
            with self.assertWarnsRegex(ResourceWarning, "was not closed"):
                del client
                gc.collect()
            await asyncio.sleep(0)

        before = held()
        self.run_async(run())
        self.run_async(drop())
        with self.assertWarnsRegex(ResourceWarning, "was not closed"):
            redmux.sync.connect(self.server.url)
            gc.collect()
        self.assertEqual(left(before), (0, 0), "descriptors, threads")

    def test_a_loop_that_is_left_with_break_goes_on_later_without_a_loss(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client, client.subscribe("x") as sub:
                for n in range(100):
                    client.post("x", str(n))
                await client.barrier()
                seen = []
                for _ in range(50):
                    async for message in sub:
                        seen.append(message.text())
                        break
                    seen.append((await sub.next(5)).text())
                self.assertEqual(seen, [str(n) for n in range(100)])

        self.run_async(run())

    def test_a_flood_leaves_the_loop_to_others(self) -> None:
        async def run() -> None:
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            async with redmux.connect(self.server.url) as client, client.subscribe("x", inbox_bytes="1G") as sub:
                for _ in range(50_000):
                    client.post("x", b"x" * 64)
                await client.barrier()
                task = asyncio.create_task(other())
                read = 0
                async for _ in sub:
                    read += 1
                    if read == 50_000:
                        break
                task.cancel()
                self.assertGreater(turns, 40)  # once a block of at most 1,024

        self.run_async(run())

    def test_loops_without_add_reader(self) -> None:
        code = """
import asyncio, sys, redmux, redmux._native
async def main():
    for _ in range(3):
        async with redmux.connect(sys.argv[1]) as client, client.subscribe("x") as sub:
            for n in range(200):
                await client.publish("x", str(n))
                assert (await sub.next(10)).text() == str(n)
    print(redmux._native.lib.debug_live())
asyncio.run(main())
"""
        ended = python(code, self.server.url, REDMUX_NO_ADD_READER="1")
        self.assertEqual((ended.stdout, ended.stderr), ("0\n", ""))

    def test_no_password_is_shown_by_what_a_client_prints(self) -> None:
        for url in ("redis://u:secret@127.0.0.1:1", "redis://127.0.0.1:1?password=secret", "127.0.0.1:1,password=secret"):
            with redmux.sync.connect(url, lazy=True) as client:
                self.assertNotIn("secret", repr(client))

    def test_several_loops_and_threads_at_once(self) -> None:
        failures: list[BaseException] = []

        async def work(name: str) -> None:
            async with redmux.connect(self.server.url) as client, client.subscribe(name) as sub:
                for n in range(100):
                    await client.publish(name, str(n))
                    assert (await sub.next(10)).text() == str(n)

        def thread(name: str) -> None:
            try:
                asyncio.run(work(name))
            except BaseException as error:
                failures.append(error)

        with redmux.sync.connect(self.server.url) as shared:
            def sync(name: str) -> None:
                try:
                    with shared.subscribe(name) as sub:
                        for n in range(100):
                            shared.publish(name, str(n))
                            assert sub.next(10).text() == str(n)
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=thread, args=(f"a{n}",)) for n in range(3)]
            threads += [threading.Thread(target=sync, args=(f"s{n}",)) for n in range(3)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
        self.assertEqual(failures, [])

    def test_a_client_belongs_to_its_loop(self) -> None:
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(redmux.connect(self.server.url)._make())
        with self.assertRaisesRegex(RuntimeError, "another event loop"):
            asyncio.run(client.publish("x", "y"))
        loop.run_until_complete(client.close())
        loop.close()

    def test_a_forked_child_is_told_and_may_connect_anew(self) -> None:
        code = """
import asyncio, os, sys, warnings, redmux, redmux.sync
warnings.simplefilter("error")
async def main():
    client = await redmux.connect(sys.argv[1])
    sub = await client.subscribe("x")
    child = os.fork()
    if child == 0:
        try:
            for call in (lambda: client.post("x", "y"), lambda: sub.channels):
                try:
                    call()
                    os._exit(1)
                except redmux.ForkedError:
                    pass
            client.close_nowait() if hasattr(client, "close_nowait") else None
            sub.close_nowait()
            del client, sub
            with redmux.sync.connect(sys.argv[1]) as own, own.subscribe("y") as heard:
                own.publish("y", "child")
                os._exit(0 if heard.next(10).text() == "child" else 2)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    await client.publish("x", "parent")
    print((await sub.next(10)).text())
    await client.close()
asyncio.run(main())
"""
        ended = python(code, self.server.url)
        self.assertEqual((ended.stdout, ended.stderr), ("0\nparent\n", ""))

    def test_a_process_may_exit_with_an_open_client_a_hundred_times(self) -> None:
        code = """
import asyncio, sys, threading, redmux, redmux.sync
client = redmux.sync.connect(sys.argv[1])
heard = threading.Event()
client.subscribe("x", on_message=lambda m: heard.set())
sub = client.subscribe("x")
threading.Thread(target=lambda: [m for m in sub], daemon=True).start()
for _ in range(50): client.post("x", "y")
async def main():
    global other, reading
    other = await redmux.connect(sys.argv[1])
    reading = await other.subscribe("x")
asyncio.run(main())
heard.wait(10)
"""
        command = [sys.executable, "-c", code, self.server.url]
        environment = {**os.environ, "PYTHONPATH": str(HERE / "src")}
        for _ in range(25):
            four = [
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
            ]
            for one in four:
                out, err = one.communicate(timeout=60)
                self.assertEqual((one.returncode, out, err), (0, b"", b""))

    def test_an_exit_does_not_wait_for_a_thread_that_runs_no_more(self) -> None:
        code = """
import os, sys, threading, redmux.sync
client = redmux.sync.connect(sys.argv[1], on_state=print)
threading.Thread.join = os.getpid  # which takes no argument: a call fails, and that is told
"""
        ended = subprocess.run(
            [sys.executable, "-c", code, self.server.url], capture_output=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(HERE / "src")},
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, b""))

    def test_ctrl_c_ends_a_blocked_read(self) -> None:
        code = """
import sys, redmux.sync
with redmux.sync.connect(sys.argv[1]) as client, client.subscribe("x") as sub:
    try:
        print("reading", flush=True)
        sub.next()
    except KeyboardInterrupt:
        print("interrupted")
"""
        with subprocess.Popen(
            [sys.executable, "-c", code, self.server.url], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(HERE / "src")},
        ) as program:
            assert program.stdout
            self.assertEqual(program.stdout.readline(), "reading\n")
            time.sleep(0.05)
            program.send_signal(signal.SIGINT)
            self.assertEqual(program.communicate(timeout=20)[0], "interrupted\n")

    def test_wrong_types_are_type_errors_and_wrong_options_are_named(self) -> None:
        with redmux.sync.connect(self.server.url) as client:
            for call in (lambda: client.post(5, "x"), lambda: client.post("x", 5), lambda: client.subscribe("a", pattern="b")):
                with self.assertRaises(TypeError):
                    call()
            with self.assertRaisesRegex(redmux.ArgumentError, "inbox_records"):
                client.subscribe("x", inbox_recrods=5)
            with self.assertRaises(redmux.ArgumentError):
                client.publish("x", "y", timeout=-1)

    def test_any_bytes_are_names_and_payloads(self) -> None:
        with redmux.sync.connect(self.server.url) as client, client.subscribe(b"\xff\x00", "ü") as sub:
            client.publish(b"\xff\x00", b"\x00")
            message = sub.next(10)
            self.assertEqual((message.channel, message.channel.encode("utf-8", "surrogateescape")), ("\udcff\0", b"\xff\x00"))
            client.publish(message.channel, memoryview(b"again"))
            self.assertEqual(sub.next(10).data, b"again")

    def test_live_counts_what_is_open(self) -> None:
        client = redmux.sync.connect(self.server.url)
        self.assertGreater(lib.debug_live(), 0)
        client.close()


