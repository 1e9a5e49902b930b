"""Runs one scenario (docs/scenarios.md) through redmux for Python.

    REDMUX_FIXTURE=target/debug/examples/fixture python scenario.py tests/scenarios/NAME.json
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from typing import Any, cast

import redmux
from redmux._native import lib
from scenario_requests import Requests
from scenario_words import Failed, Step, limit, name, raw


class Program:
    """A fixture, or another process of the scenario: lines of JSON in and out."""

    def __init__(self, *command: str) -> None:
        self.killed = False
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def send(self, line: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> int:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        status = self.process.wait(20)
        self.process.stdout.close()
        return 0 if self.killed else status


class Lines(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


class Nowhere:
    """In the place of a subscription that could not be made: it is closed."""

    def __getattr__(self, verb: str) -> Any:
        async def closed(*_: Any, **__: Any) -> None:
            raise redmux.ClosedError("there is no such subscription")

        return closed


class Objects:
    """The objects of one process and the steps that users do."""

    def __init__(self, servers: dict[str, Any]) -> None:
        self.servers = servers
        self.clients: dict[str, redmux.Client] = {}
        self.answers: dict[str, Any] = {}
        self.subs: dict[str, redmux.Subscription] = {}
        self.sets: dict[str, redmux.Promises] = {}
        self.begun: dict[str, asyncio.Future[Any]] = {}
        self.promises: dict[str, redmux.Promise] = {}
        self.requests = Requests(self)
        self.lines = Lines()
        logging.getLogger("redmux").setLevel(logging.INFO)
        logging.getLogger("redmux").addHandler(self.lines)

    def client(self, step: Step) -> redmux.Client:
        return self.clients[step.get("client", "a")]

    def sub(self, step: Step) -> redmux.Subscription:
        return self.subs[step.get("sub", "s")]

    async def run(self, step: Step) -> None:
        work = getattr(self, "do_" + step["do"], None) or getattr(self.requests, "do_" + step["do"], None)
        if work is None:
            raise Failed("there is no such step")
        if "as" in step and step["do"] not in ("await", "cancel", "promise", "gather"):
            self.begun[step["as"]] = asyncio.ensure_future(work(step))
            await asyncio.sleep(0)
        else:
            await self.judge(step, work(step))

    async def judge(self, step: Step, work: Any) -> None:
        wanted, seen, text, result = step.get("error"), None, "", None
        try:
            async with asyncio.timeout(30):
                result = await work
        except redmux.Error as error:
            seen, text = error.kind, str(error)
        except asyncio.CancelledError:
            seen = "cancelled"
        if seen != wanted:
            raise Failed(f"ended with {seen or 'ok'}, not {wanted or 'ok'}: {text}")
        for part in step.get("says", ()):
            if part not in text:
                raise Failed(f"its text has no {part}: {text}")
        if seen is None:
            wants = [step["receivers"]] if "receivers" in step else []
            wants += [raw(step["data"])] if "data" in step and step["do"] == "await" else []
            wants += [raw(step["answer"])] if "answer" in step else []
            if any(result != want for want in wants):
                raise Failed(f"got {result!r}")

    # --- clients

    async def do_connect(self, step: Step) -> None:
        key, server = step.get("client", "a"), self.servers[step.get("server", "redis")]
        via, asks = step.get("via"), step.get("answers", {})
        url = server[f"{via}_url"] if via else server.get("url", server["unix_url"])
        options: dict[str, Any] = dict(step.get("options", {}))
        if via == "tls":
            options["tls_ca"] = server["certs"]["ca"]
        self.answers[key] = asks
        if "address" in asks:
            url = None

            def address() -> tuple[str, str]:
                host, _, port = self.servers[self.answers[key]["address"]]["url"].rpartition("/")[2].rpartition(":")
                return host, port

            options["address"] = address
        if "credentials" in asks:
            options["credentials"] = lambda: tuple(self.answers[key]["credentials"])
        attempt = options.pop("connect_timeout", None)
        options["connect_timeout"] = float(attempt.removesuffix("ms")) / 1000 if attempt else step.get("timeout", 10)
        self.clients[key] = await redmux.connect(url, lazy=step.get("lazy", False), **options)

    async def do_answers(self, step: Step) -> None:
        self.answers[step.get("client", "a")] = step["answers"]

    async def do_ready(self, step: Step) -> None:
        await self.client(step).ready(limit(step))

    async def do_authenticate(self, step: Step) -> None:
        await self.client(step).authenticate(step["user"], step["password"], limit(step))

    async def do_stop(self, step: Step) -> None:
        self.client(step).stop()

    async def do_restart(self, step: Step) -> None:
        self.client(step).restart()

    async def do_flush(self, step: Step) -> None:
        await self.client(step).flush(limit(step))

    async def do_barrier(self, step: Step) -> None:
        await self.client(step).barrier(limit(step))

    async def do_publish(self, step: Step) -> Any:
        client = self.client(step)
        results = await asyncio.gather(
            *(
                client.publish(name(step["channel"], n), raw(step["data"], n), timeout=limit(step))
                for n in range(step.get("times", 1))
            )
        )
        return results[0]

    async def do_post(self, step: Step) -> None:
        for n in range(step.get("times", 1)):
            self.client(step).post(name(step["channel"], n), raw(step["data"], n))

    async def do_stats(self, step: Step) -> None:
        async def look() -> Any:
            value: Any = self.client(step).stats()
            for part in step["key"].split("."):
                value = value[part]
            return value

        await until(step, look)

    async def do_logged(self, step: Step) -> None:
        async def look() -> bool:
            return any(step["line"] in line for line in self.lines.said)

        await until({**step, "until": True}, look)

    # --- subscriptions

    async def do_subscribe(self, step: Step) -> None:
        channels = [name(channel) for channel in step.get("channels", ())]
        pattern = name(step["pattern"]) if "pattern" in step else None
        client, options = self.client(step), step.get("options", {})
        if step.get("error"):
            self.subs.setdefault(step.get("sub", "s"), cast(Any, Nowhere()))
        if step.get("wait", True):
            sub = await client.subscribe(*channels, pattern=pattern, timeout=limit(step), **options)
        else:
            sub = client.subscribe_nowait(*channels, pattern=pattern, **options)
        self.subs[step.get("sub", "s")] = sub

    async def do_add(self, step: Step) -> None:
        channels = [name(channel) for channel in step["channels"]]
        if step.get("wait", True):
            await self.sub(step).add(*channels, timeout=limit(step))
        else:
            self.sub(step).add_nowait(*channels)

    async def do_remove(self, step: Step) -> None:
        channels = [name(channel) for channel in step["channels"]]
        if step.get("wait", True):
            await self.sub(step).remove(*channels, timeout=limit(step))
        else:
            self.sub(step).remove_nowait(*channels)

    async def do_clear(self, step: Step) -> None:
        if "set" in step:
            self.sets[step["set"]].clear()
        else:
            await self.sub(step).clear(limit(step))

    async def do_wait_active(self, step: Step) -> None:
        await (self.sets[step["set"]] if "set" in step else self.sub(step)).wait_active(limit(step))

    async def do_drain(self, step: Step) -> None:
        await (self.requests.responders[step["responder"]] if "responder" in step else self.sub(step)).drain(limit(step))

    async def do_channels(self, step: Step) -> None:
        if self.sub(step).channels != {name(channel) for channel in step["is"]}:
            raise Failed(f"it has {self.sub(step).channels}")

    # --- events

    async def event(self, step: Step, named: bool) -> Any:
        """The next event; the error or None at the end."""
        try:
            async with asyncio.timeout(limit(step)):
                async for event in self.sub(step).events():
                    if named or not isinstance(event, redmux.Active) or event.channel is None:
                        return event
        except redmux.Error as error:
            return error
        except TimeoutError:
            raise Failed("nothing came") from None
        return None

    async def do_expect(self, step: Step) -> None:
        for wanted in step["see"]:
            for n in range(wanted.get("times", 1)):
                event = await self.event(step, wanted["see"] == "active" and "name" in wanted)
                if not is_it(event, wanted, n):
                    raise Failed(f"{wanted} was wanted (repetition {n}), but came {event!r}")

    async def do_count(self, step: Step) -> None:
        total = 0
        while total < step["total"]:
            event = await self.event(step, named=False)
            if not isinstance(event, (redmux.Message, redmux.Dropped)):
                raise Failed(f"after {total} came {event!r}")
            total += event.count if isinstance(event, redmux.Dropped) else 1
        if total != step["total"]:
            raise Failed(f"came to {total}")

    async def do_nothing(self, step: Step) -> None:
        if "responder" in step:
            self.requests.nothing(step)
            return
        sub = self.sub(step)
        reading = asyncio.ensure_future(self.event(step, named=False))
        for _ in range(5):  # as long as something is here, the reader goes on without waiting
            await asyncio.sleep(0)
        if reading.done():
            raise Failed(f"there is {reading.result()!r}")
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        if sub.next_nowait() is not None:
            raise Failed("there is a message")

    # --- promises

    async def do_promises(self, step: Step) -> None:
        self.sets[step.get("set", "p")] = self.client(step).promises(name(step["prefix"]))

    async def do_promise(self, step: Step) -> None:
        if "name" in step:
            promise = await self.client(step).promise(name(step["name"]), timeout=limit(step))
        else:
            promises = self.sets[step.get("set", "p")]
            make = promises.wait_new if step.get("wait") else promises.new
            promise = make(name(step["suffix"]), timeout=limit(step))
        self.promises[step["as"]] = promise

    async def do_cancel(self, step: Step) -> None:
        if step["as"] in self.promises:
            self.promises[step["as"]].cancel()
        elif step["as"] in self.requests.gathers:
            self.requests.gathers[step["as"]][0].cancel()
        else:
            self.begun[step["as"]].cancel()

    async def do_await(self, step: Step) -> Any:
        if step["as"] in self.requests.gathers:
            return await self.requests.ended(step)
        promise = self.promises.pop(step["as"], None)
        return await (promise if promise is not None else self.begun.pop(step["as"]))

    # --- the end

    async def do_close(self, step: Step) -> None:
        if "responder" in step:
            await self.requests.responders[step["responder"]].close()
            return
        await (self.subs[step["sub"]] if "sub" in step else self.sets[step["set"]] if "set" in step else self.client(step)).close()

    async def end(self) -> None:
        for client in self.clients.values():
            await client.close()
        self.subs.clear()
        self.sets.clear()
        self.requests.clear()
        left = lib.debug_live()
        if left:
            raise Failed(f"{left} handles or blocks are left")


def is_it(event: Any, wanted: Step, n: int) -> bool:
    see = wanted["see"]
    if isinstance(event, redmux.Message):
        pattern = name(wanted["pattern"], n) if "pattern" in wanted else None
        right = (name(wanted.get("channel", ""), n), raw(wanted.get("data", ""), n), pattern)
        return see == "message" and (event.channel, event.data, event.pattern) == right
    if isinstance(event, redmux.Active):
        return see == "active" and event.channel == (name(wanted["name"]) if "name" in wanted else None)
    if isinstance(event, redmux.Lost):
        return see == "lost" and wanted.get("error", event.reason) == event.reason
    if isinstance(event, redmux.Dropped):
        return bool(see == "dropped" and event.count == wanted["count"])
    if isinstance(event, redmux.Refused):
        return see == "refused" and event.channel == name(wanted["name"])
    return see == "end" and wanted.get("error") == (event.kind if event is not None else None)


async def until(step: Step, look: Any) -> None:
    end = asyncio.get_running_loop().time() + limit(step)
    while True:
        seen = await look()
        for key in ("is", "until"):
            if key in step and seen == step[key]:
                return
        if "is" in step or ("until" in step and asyncio.get_running_loop().time() > end):
            raise Failed(f"it is {seen!r}")
        if "until" not in step:
            return
        await asyncio.sleep(0.01)


class World:
    """The first process: the fixtures, the other processes, and the steps in their order."""

    def __init__(self, scenario: Step) -> None:
        self.steps: list[Step] = scenario["steps"]
        fixture = os.environ["REDMUX_FIXTURE"]
        self.fixtures = {key: Program(fixture, *flags) for key, flags in scenario.get("servers", {"redis": []}).items()}
        self.servers = {key: program.read() for key, program in self.fixtures.items()}
        self.processes: dict[str, Program] = {}

    async def ask(self, program: Program, line: Any) -> Any:
        def both() -> Any:
            program.send(line)
            return program.read()

        return await asyncio.to_thread(both)

    async def world(self, step: Step) -> None:
        for n in range(step.get("times", 1)):
            order = json.loads(json.dumps(step["order"]).replace("{n}", str(n)))

            async def look(order: Any = order) -> Any:
                answer = await self.ask(self.fixtures[step.get("server", "redis")], order)
                if ("error" in step) != ("error" in answer) or step.get("error", "") not in answer.get("error", ""):
                    raise Failed(f"the answer is {answer}")
                return answer.get("ok")

            await until(step, look)

    async def elsewhere(self, step: Step) -> None:
        program = self.processes.get(step["process"])
        if program is None:
            peer = os.environ.get("REDMUX_SCENARIO_PEER")
            command = [peer] if peer else [sys.executable, *(f"-X{x}" for x in sys._xoptions), __file__]
            program = self.processes[step["process"]] = Program(*command, "--steps")
            program.send(self.servers)
        answer = await self.ask(program, step)
        if "ok" not in answer:
            raise Failed(f"process {step['process']}: {answer}")

    async def run(self) -> None:
        objects = Objects(self.servers)
        step: Step = {}
        try:
            for step in self.steps:
                if step["do"] == "world":
                    await self.world(step)
                elif step["do"] == "kill":
                    program = self.processes[step["process"]]
                    program.killed = True
                    program.process.kill()
                elif "process" in step:
                    await self.elsewhere(step)
                else:
                    await objects.run(step)
            step = {}
            await objects.end()
            if any([program.end() for program in self.processes.values()]):
                raise Failed("another process did not end well")
        except Exception as error:
            print(f"{sys.argv[1]}: {json.dumps(step)}\n    {type(error).__name__}: {error}", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)
        finally:
            for program in self.fixtures.values():
                program.end()


async def told() -> None:
    """The other process: its steps come from stdin."""
    lines = iter(sys.stdin.readline, "")
    objects = Objects(json.loads(next(lines)))
    while line := await asyncio.to_thread(next, lines, ""):
        try:
            await objects.run(json.loads(line))
            print('{"ok":true}', flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
            os._exit(1)
    await objects.end()


if __name__ == "__main__":
    if sys.argv[1:] == ["--steps"]:
        asyncio.run(told())
    else:
        with open(sys.argv[1], encoding="utf-8") as file:
            scenario = json.load(file)
        asyncio.run(World(scenario).run())
