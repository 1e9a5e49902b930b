"""What users of RedisMPX, Messaging Broker and the tutorial must find, by the id of its row."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import subprocess
import sys
import threading
from typing import Any

import redmux
import redmux.sync

from .support import Fixture, WithServer, python


class Rows(WithServer):
    def test_m26_callbacks_and_an_empty_start(self) -> None:
        async def run() -> None:
            seen: asyncio.Queue[str] = asyncio.Queue()

            async def on_message(m: redmux.Message) -> None:
                await seen.put(f"channel: [{m.channel}] msg: [{m.text()}]")

            async with redmux.connect(self.server.url) as client:
                sub = await client.subscribe(
                    on_message=on_message,
                    on_lost=lambda lost: seen.put_nowait(f"lost: {lost.reason}"),
                    on_active=lambda active: seen.put_nowait(f"active: {active.channel}"),
                )
                self.assertEqual(sub.channels, frozenset())
                await sub.add("mychannel")
                self.assertEqual(await seen.get(), "active: mychannel")
                await client.publish("mychannel", "Hello World!")
                self.assertEqual(await seen.get(), "channel: [mychannel] msg: [Hello World!]")
                self.server.do("kill_pubsub")
                self.assertEqual([await seen.get(), await seen.get()], ["lost: link_lost", "active: None"])

        self.run_async(run())

    def test_m26_callbacks_in_sync(self) -> None:
        seen: list[str] = []
        more = threading.Semaphore(0)

        def note(text: str) -> None:
            seen.append(text)
            more.release()

        with redmux.sync.connect(self.server.url) as client:
            with client.subscribe(
                on_message=lambda m: note(f"channel: [{m.channel}] msg: [{m.text()}]"),
                on_active=lambda active: note(f"active: {active.channel}"),
                on_lost=lambda lost: note(f"lost: {lost.reason}"),
            ) as sub:
                sub.add("mychannel")
                client.publish("mychannel", "Hello World!")
                for _ in range(2):
                    self.assertTrue(more.acquire(timeout=10))
                self.server.do("kill_pubsub")
                for _ in range(2):
                    self.assertTrue(more.acquire(timeout=10))
        self.assertEqual(
            seen, ["active: mychannel", "channel: [mychannel] msg: [Hello World!]", "lost: link_lost", "active: None"]
        )

    def test_m27_ten_thousand_subscriptions_share_a_connection_and_have_no_thread_each(self) -> None:
        async def run() -> int:
            async with redmux.connect(self.server.url) as client:
                before = resident()
                subs = [client.subscribe_nowait(f"user:{n}", inbox_records=100) for n in range(10_000)]
                await subs[-1].wait_active(30)
                each = (resident() - before) // len(subs)
                # Not equal to what it was: a thread that looks a name up comes and goes by itself.
                self.assertLess(len(os.listdir("/proc/self/task")), 50)
                self.assertEqual(await client.publish("user:1234", "hi"), 1)
                self.assertEqual((await subs[1234].next(10)).data, b"hi")
                listed = self.server.do("client_list")
                self.assertEqual(sum(int(one["sub"]) > 0 for one in listed), 1)
                return each

        each = self.run_async(run())
        self.assertLessEqual(each, 6 * 1024, "resident bytes a subscription")

    def test_m28_credentials_are_asked_of_the_application_at_each_attempt(self) -> None:
        server = Fixture("--password", "old")
        self.addCleanup(server.end)
        password = ["old"]

        async def ask() -> tuple[str, str]:
            await asyncio.sleep(0)
            return "default", password[0]

        async def run() -> None:
            async with redmux.connect(server.url, credentials=ask, backoff_max=0.1) as client:
                async with client.subscribe("x") as sub:
                    await asyncio.to_thread(server.do, "stop")
                    events = sub.events()
                    self.assertEqual((await anext(events)).channel, "x")  # type: ignore[union-attr]
                    self.assertIsInstance(await anext(events), redmux.Lost)
                    server.do("configure", key="requirepass", value="new")
                    password[0] = "new"
                    await asyncio.to_thread(server.do, "start")
                    self.assertEqual((await anext(events)).channel, None)  # type: ignore[union-attr]

        self.run_async(run())
        with redmux.sync.connect(server.url, credentials=lambda: ("default", password[0])) as client:
            self.assertEqual(client.publish("x", "y"), 0)

    def test_m28_the_address_is_asked_of_the_application(self) -> None:
        host, _, port = self.server.url.rpartition("/")[2].rpartition(":")
        for address in ((host, port), self.server.first["path"]):
            with redmux.sync.connect(address=lambda address=address: address) as client:
                self.assertEqual(client.publish("x", "y"), 0)

    def test_m29_clear_wait_stop_and_restart_in_sync(self) -> None:
        with redmux.sync.connect(self.server.url) as client, client.subscribe("a", "b") as sub:
            sub.clear()
            self.assertEqual((sub.channels, self.server.do("numsub", channel="a")), (frozenset(), 0))
            client.stop()
            with self.assertRaises(redmux.StateError):
                client.stop()
            sub.add_nowait("c")
            client.restart()
            sub.wait_active()
            self.assertEqual(client.publish("c", "again"), 1)
            self.assertEqual(sub.next(10).text(), "again")

    def test_p12_the_prefix_object(self) -> None:
        async def run() -> None:
            async with redmux.connect(self.server.url) as client:
                promises = client.promises("p:")
                later = promises.wait_new("later", timeout=10)
                await promises.wait_active()
                now = promises.new("x", timeout=10)
                self.server.do("command", args=["PUBLISH", "p:x", "kept"])
                self.server.do("command", args=["PUBLISH", "p:later", "too"])
                self.assertEqual((await now, await later), (b"kept", b"too"))
                gone, closed = promises.new("gone", timeout=math.inf), None
                promises.clear()
                with self.assertRaises(redmux.CancelledError):
                    await gone
                closed = promises.new("closed")
                await promises.close()
                with self.assertRaises(redmux.ClosedError):
                    await closed

        self.run_async(run())
        with redmux.sync.connect(self.server.url) as client, client.promises("p:") as promises:
            promise, single = promises.new("x", timeout=10), client.promise("one", timeout=10)
            self.server.do("command", args=["PUBLISH", "p:x", "kept"])
            self.server.do("command", args=["PUBLISH", "one", "alone"])
            self.assertEqual((promise.wait(), single.wait()), (b"kept", b"alone"))

    def test_b1_json_is_published_and_errors_come_back_by_kind(self) -> None:
        with redmux.sync.connect(self.server.url) as client, client.subscribe("x") as sub:
            self.assertEqual(client.publish("x", json={"ä": [1, None]}), 1)
            message = sub.next(10)
            self.assertEqual((message.data, message.json()), ('{"ä":[1,null]}'.encode(), {"ä": [1, None]}))
            self.assertEqual(client.publish("x", json=None), 1)
            self.assertEqual(sub.next(10).data, b"null")
            for wrong in (5, None, {"a": 1}):
                with self.assertRaises(TypeError):
                    client.publish("x", wrong)
        with redmux.sync.connect("redis://127.0.0.1:1", lazy=True, publish_queue="4k") as client:
            with self.assertRaises(redmux.NotSentError):
                client.publish("x", "y", timeout=0.05)
            client.post("x", b"x" * 4000)
            with self.assertRaises(redmux.FullError):
                client.post("x", b"x" * 4000)
            client.stop()

    def test_b2_five_channels_seven_messages_in_sync(self) -> None:
        channels = ("orders", "users", "stock", "prices", "alerts")
        with redmux.sync.connect(self.server.url) as client, client.subscribe(*channels) as sub:
            for channel in (*channels, "orders", "orders"):
                self.assertEqual(self.server.do("publish", channel=channel, data=channel), 1)
            self.assertEqual([sub.next(10).text() for _ in range(7)], [*channels, "orders", "orders"])

    def test_b3_the_environment_in_its_order(self) -> None:
        host, _, port = self.server.url.rpartition("/")[2].rpartition(":")
        code = "import sys, redmux.sync\nwith redmux.sync.connect(*sys.argv[1:], connect_timeout=5) as c: print(c.publish('x', 'y'))"
        right, wrong = self.server.url, "redis://127.0.0.1:1"
        for arguments, environment in (
            ((right,), {"REDIS_URL": wrong}),
            ((), {"REDIS_URL": right, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"}),
            ((), {"REDIS_HOST": host, "REDIS_PORT": port}),
        ):
            with self.subTest(environment=environment):
                self.assertEqual(python(code, *arguments, **environment).stdout, "0\n")

    def test_b4_bad_json_in_a_callback_is_logged_and_the_next_is_delivered(self) -> None:
        async def run() -> None:
            seen: asyncio.Queue[Any] = asyncio.Queue()
            async with redmux.connect(self.server.url) as client:
                await client.subscribe("x", on_message=lambda m: seen.put_nowait(m.json()))
                await client.publish("x", b"{bad\xff")
                await client.publish("x", json=1)
                self.assertEqual(await seen.get(), 1)

        with self.assertLogs("redmux", logging.ERROR) as logged:
            self.run_async(run())
        self.assertIn("bad JSON on 'x', 5 bytes: b'{bad\\xff'", "\n".join(logged.output))

    def test_b10_the_same_in_a_prompt_through_sync(self) -> None:
        typed = "\n".join([
            "import redmux.sync",
            f"client = redmux.sync.connect('{self.server.url}')",
            "sub = client.subscribe('my_channel')",
            "client.publish('my_channel', 'hello')",
            "m = sub.next(timeout=5)",
            "print(f'I heard [{m.text()}] on channel [{m.channel}]')",
            "client.close()",
        ])
        prompt = subprocess.run([sys.executable, "-i"], input=typed + "\n", capture_output=True, text=True, timeout=60)
        self.assertIn("I heard [hello] on channel [my_channel]", prompt.stdout)

    def test_logs_and_losses_go_to_logging(self) -> None:
        async def run() -> None:
            async with (
                redmux.connect(self.server.url) as client, client.subscribe("x") as sub, client.subscribe("x") as watching,
            ):
                self.server.do("kill_pubsub")
                lost = False
                async for event in watching.events():
                    lost = lost or isinstance(event, redmux.Lost)
                    if lost and isinstance(event, redmux.Active):
                        break
                client.post("x", "y")
                await sub.next(10)

        with self.assertLogs("redmux", logging.INFO) as logged:
            self.run_async(run())
        self.assertIn("messages may be missing", "\n".join(logged.output))


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
