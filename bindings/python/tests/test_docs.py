"""What is documented is run: every docstring's example, the README's programs, the examples."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import json
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import redmux
import redmux.sync

from .support import HERE, WithServer, python

Programs = subprocess.Popen[str]


async def run_example(example: doctest.Example, names: dict[str, Any]) -> str:
    """What one example prints; await is allowed at the top."""
    out = io.StringIO()
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with contextlib.redirect_stdout(out):
        for node in ast.parse(example.source).body:
            body: ast.AST = ast.Interactive([node])
            result = eval(compile(body, "docstring", "single", flags), names)
            if inspect.iscoroutine(result):
                await result
    return out.getvalue()


class Documentation(WithServer):
    def examples_of(self, face: Any) -> Iterator[doctest.DocTest]:
        """Of what the face shows, and of what that inherits."""
        finder = doctest.DocTestFinder(exclude_empty=True, recurse=False)
        yield from finder.find(face)
        for name in face.__all__:
            found = getattr(face, name)
            parts = {name: found}
            if inspect.isclass(found):
                parts |= {f"{name}.{part}": getattr(found, part) for part in dir(found) if not part.startswith("_")}
            for name, part in parts.items():
                yield from (test for test in finder.find(part, f"{face.__name__}.{name}", module=False) if test.examples)

    def check(self, test: doctest.DocTest, **names: Any) -> None:
        async def run() -> None:
            given = {"redmux": redmux, "Message": redmux.Message, "queue": queue, **names}
            own = None if "client" in names else await redmux.connect(self.server.url)
            if own is not None:
                given["client"] = own
            try:
                for example in test.examples:
                    example.source = example.source.replace("redis://localhost", self.server.url)
                    got = await run_example(example, given)
                    same = doctest.OutputChecker().check_output(example.want, got, doctest.ELLIPSIS)
                    self.assertTrue(same, f"{test.name}: {example.source}gave {got!r}, not {example.want!r}")
            finally:
                if own is not None:
                    await own.close()

        asyncio.run(run())

    def test_every_example_in_a_docstring_does_what_it_says(self) -> None:
        ran = 0
        for face in (redmux, redmux.sync):
            for test in self.examples_of(face):
                with self.subTest(test.name):
                    if face is redmux.sync:
                        with redmux.sync.connect(self.server.url) as client:
                            self.check(test, client=client)
                    else:
                        self.check(test)
                    ran += 1
        self.assertGreater(ran, 30)

    def test_a_thing_says_that_it_is_from_where_its_users_find_it(self) -> None:
        message = redmux.Message("news", b"hi", 1)
        self.assertEqual(repr(pickle.loads(pickle.dumps(message))), repr(message))
        for made in (redmux.RemoteError, redmux.BusyError):
            error = made("no", remote_code="NO", retriable=True, responder="node")
            copy = pickle.loads(pickle.dumps(error))
            self.assertEqual((repr(copy), str(copy), vars(copy)), (repr(error), "NO: no", vars(error)))
        for face in (redmux, redmux.sync):
            for name in face.__all__:
                found = getattr(face, name)
                if inspect.isclass(found) or inspect.isfunction(found):
                    self.assertEqual((found.__module__, found.__qualname__), (face.__name__, name))

    def test_the_readmes_programs_print_what_it_shows(self) -> None:
        text = (HERE / "README.md").read_text().replace("redis://localhost", self.server.url)
        first, second, third = re.findall(r"```python\n(import .*?)```", text, flags=re.S)
        shown = re.findall(r"```console\n([1h].*?)```", text, flags=re.S)
        self.assertEqual([python(first).stdout, python(third).stdout], shown)
        self.assertEqual(python(second).stdout, "Message('my_channel', b'hello')\n")

    # --- the examples

    def start(self, name: str, *arguments: str) -> Programs:
        program = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", str(HERE / "examples" / name), self.server.url, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(HERE / "src")},
        )
        self.addCleanup(self.finish, program)
        return program

    def finish(self, program: Programs) -> None:
        if program.poll() is None:
            program.kill()
        for pipe in (program.stdin, program.stdout):
            assert pipe
            pipe.close()
        program.wait()

    def reads(self, program: Programs, *lines: str) -> None:
        assert program.stdout
        for line in lines:
            self.assertEqual(program.stdout.readline().rstrip("\n"), line)

    def says(self, program: Programs, *lines: str) -> None:
        assert program.stdin
        program.stdin.write("".join(line + "\n" for line in lines))
        program.stdin.flush()

    def publish(self, channel: str, data: str) -> None:
        self.assertEqual(self.server.do("publish", channel=channel, data=data), 1)

    def test_example_simple(self) -> None:
        program = self.start("simple.py")
        self.reads(program, "channel: [mychannel] msg: [Hello World!]")
        self.assertEqual(program.wait(20), 0)

    def test_example_chat(self) -> None:
        program = self.start("chat.py")
        self.says(program, "+lobby")
        self.reads(program, "joined lobby")
        self.says(program, "!lobby Is anybody here?", "?")
        self.assertEqual(
            {program.stdout.readline() for _ in range(2)} if program.stdout else set(),
            {"[lobby] Is anybody here?\n", "in 1 rooms: lobby\n"},
        )
        self.assertEqual(self.server.do("kill_pubsub"), 1)
        assert program.stdout
        self.assertTrue(program.stdout.readline().startswith("*disconnected* "))
        self.reads(program, "*connected again*")
        self.says(program, "-lobby", "q")
        self.assertEqual(program.wait(20), 0)

    def test_example_pattern(self) -> None:
        program = self.start("pattern.py", "news.*", "2")
        self.reads(program, "active: [news.*]")
        self.publish("news.sport", "2:1")
        self.publish("news.weather", "rain")
        self.reads(
            program,
            "pattern: [news.*] channel: [news.sport] msg: [2:1]",
            "pattern: [news.*] channel: [news.weather] msg: [rain]",
        )
        self.assertEqual(program.wait(20), 0)

    def test_example_promises(self) -> None:
        program = self.start("promises.py")
        self.reads(program, "promise on [p:job-42]: [done]", "promise on [p:nobody]: nobody kept it")
        self.assertEqual(program.wait(20), 0)

    def test_example_hello(self) -> None:
        program = self.start("hello.py", "redmux")
        assert program.stdout
        self.assertTrue(program.stdout.readline().startswith("hello redmux, says "))
        self.assertEqual(program.wait(20), 0)

    def test_r1_example_total_count_of_six_instances(self) -> None:
        first = self.start("total_count.py", "100")
        others = [self.start("total_count.py", "5") for _ in range(5)]
        self.reads(first, "counting 100")
        for other in others:
            self.reads(other, "counting 5")
        self.says(first, "")
        self.reads(first, "total: 125 of 6 instances, 0 missing")
        self.says(others[0], "")
        self.reads(others[0], "total: 125 of 6 instances, 0 missing")

    def test_r17_example_resource_whichever_instance_is_asked(self) -> None:
        nodes = [self.start("resource.py", f"node-{n}", f"boat-{n}=colour {n}") for n in range(3)]
        urls = [node.stdout.readline().strip() for node in nodes if node.stdout]
        for url in urls:
            for n in range(3):
                got = self.curl(url + f"boat-{n}")
                self.assertEqual(got, (200, {f"boat-{n}": f"colour {n}", "holder": f"node-{n}"}))
            self.assertEqual(self.curl(url + "car"), (404, {"error": "no instance holds /car"}))
        for node in nodes:
            assert node.stdin
            node.stdin.close()
            self.assertEqual(node.wait(20), 0)

    def curl(self, url: str) -> tuple[int, Any]:
        ended = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", url], capture_output=True, text=True, timeout=30)
        body, _, status = ended.stdout.rpartition("\n")
        return int(status), json.loads(body)

    def test_b2_b4_example_broker_hears_seven_and_skips_bad_json(self) -> None:
        program = self.start("broker.py")
        self.reads(program, "listening on 5 channels")
        for channel in ("orders", "users", "stock", "prices"):
            self.publish(channel, '{"id":1}')
        self.publish("alerts", "{bad")
        for channel in ("alerts", "orders", "orders"):
            self.publish(channel, '{"id":2}')
        self.reads(program, *(f"{channel}: {{'id': 1}}" for channel in ("orders", "users", "stock", "prices")))
        assert program.stdout
        skipped = program.stdout.readline()
        self.assertTrue(skipped.startswith("skipped: bad JSON on 'alerts', 4 bytes: b'{bad': "), skipped)
        self.reads(program, *(f"{channel}: {{'id': 2}}" for channel in ("alerts", "orders", "orders")))
        self.assertEqual(program.wait(20), 0)

    def test_b4_example_broker_ends_well_on_sigterm(self) -> None:
        program = self.start("broker.py")
        self.reads(program, "listening on 5 channels")
        program.send_signal(signal.SIGTERM)
        self.assertEqual(program.wait(10), 0)
