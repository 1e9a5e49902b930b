"""What the tests share: a server of their own, and what a process holds."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path
from typing import Any

import redmux.sync
from redmux._native import lib

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parents[1]
SLOW = re.compile(r"^Executing <.*> took [0-9.]+ seconds\n", re.MULTILINE)  # asyncio in its debug mode, of a turn of the loop


class Fixture:
    """The tests' server (tests/support/fixture.rs), told in lines of JSON."""

    def __init__(self, *flags: str) -> None:
        program = os.environ.get("REDMUX_FIXTURE", str(ROOT / "target/debug/examples/fixture"))
        self.process = subprocess.Popen([program, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin and self.process.stdout
        self.first = json.loads(self.process.stdout.readline())
        self.url: str = self.first["url"]

    def do(self, word: str, **given: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"do": word, **given}).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["ok"]

    def end(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


class WithServer(unittest.TestCase):
    """A server for the tests of a class, and nothing left behind by any of them."""

    server: Fixture

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Fixture()
        redmux.sync.connect(cls.server.url).close()  # the library's own thread is there from now on

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.end()

    def run_async(self, work: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(60):
                return await work

        return asyncio.run(bounded())

    def tearDown(self) -> None:
        self.assertEqual(lib.debug_live(), 0, "handles or blocks are left")


def held() -> tuple[int, int]:
    """How many descriptors and threads this process has."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def left(before: tuple[int, int], seconds: float = 10) -> tuple[int, int]:
    """How many descriptors and threads are held beyond those, once there are none; threads need a moment to end."""
    end = time.monotonic() + seconds
    while True:
        descriptors, threads = held()
        beyond = max(0, descriptors - before[0]), max(0, threads - before[1])
        if beyond == (0, 0) or time.monotonic() >= end:
            return beyond
        threading.Event().wait(0.01)


def python(code: str, *arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own, as strict as this one. How slow the machine was is not among its errors."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(HERE / "src"), **environment},
    )
    ended.stderr = SLOW.sub("", ended.stderr)
    return ended
