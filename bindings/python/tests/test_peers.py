"""What other programs may send: frames that the library takes and Python's own JSON does not."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import redmux
import redmux.sync

from .support import WithServer

# Values of keys that nobody knows, which are to be ignored.
STRANGE = {"deep": b"[" * 30_000 + b"]" * 30_000, "long": b"9" * 5000}


def frame(kind: str, value: bytes, **more: str) -> bytes:
    return json.dumps({"v": 1, "k": kind, **more}).encode()[:-1] + b',"x":' + value + b"}\n"


def head(message: redmux.Message) -> Any:
    return json.loads(message.data.partition(b"\n")[0])


class Peers(WithServer):
    def test_an_error_that_cannot_be_read_is_an_error_and_others_hear_what_they_wait_for(self) -> None:
        async def run(value: bytes) -> None:
            async with redmux.connect(self.server.url) as client, client.subscribe("redmux:svc:x") as peer:
                gather = client.gather("x", expect=1)
                request = head(await peer.next(10))
                waiting = [asyncio.create_task(client.publish("other", "hi")) for _ in range(5)]
                await asyncio.sleep(0)
                client.post(request["reply"], frame("error", value, id=request["id"], by="peer", code="NO", message="no"))
                waiting += [asyncio.create_task(client.publish("other", "hi")) for _ in range(5)]
                self.assertEqual(await asyncio.gather(*waiting), [0] * 10)
                with self.assertRaises(redmux.RemoteError) as raised:
                    gather._first(await gather._more())
                self.assertEqual((raised.exception.kind, raised.exception.remote_code), ("remote", "ERROR"))

        for what, value in STRANGE.items():
            with self.subTest(what):
                self.run_async(run(value))

    def test_a_request_that_cannot_be_read_ends_and_gives_its_place_back(self) -> None:
        async def run(value: bytes) -> None:
            async with redmux.connect(self.server.url) as client, client.subscribe("answers") as peer:
                async with client.respond("x", lambda request: request.data, concurrency=1):
                    client.post("redmux:svc:x", frame("request", value, id="1", reply="answers", traceparent=""))
                    client.post("redmux:svc:x", frame("request", b"1", id="2", reply="answers"))
                    kinds: set[str] = set()
                    while not kinds >= {"error", "end"}:
                        kinds.add(head(await peer.next(10))["k"])

        for what, value in STRANGE.items():
            with self.subTest(what), self.assertLogs("redmux", logging.ERROR):
                self.run_async(run(value))

    def test_sync_a_request_that_cannot_be_read_ends_and_its_thread_goes_on(self) -> None:
        for what, value in STRANGE.items():
            with self.subTest(what), self.assertLogs("redmux", logging.ERROR), redmux.sync.connect(self.server.url) as client:
                with client.subscribe("answers") as peer, client.respond("x", lambda request: request.data, concurrency=1):
                    client.post("redmux:svc:x", frame("request", value, id="1", reply="answers", traceparent=""))
                    client.post("redmux:svc:x", frame("request", b"1", id="2", reply="answers"))
                    kinds: set[str] = set()
                    while not kinds >= {"error", "end"}:
                        kinds.add(head(peer.next(10))["k"])
