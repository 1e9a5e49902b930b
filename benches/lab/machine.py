"""Starts the programs that are measured, where they shall run, and ends them.

Nothing here reads a clock for a figure: the programs measure themselves."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

BIN = Path(os.environ["BENCH_BIN"])
OUT = Path(os.environ["BENCH_OUT"])
PATIENCE = 60  # seconds until a program that says nothing is a failure

# Pinned: the server has the first CPU for itself, and the client the second. Free: the kernel decides.
CPUS = sorted(os.sched_getaffinity(0))
SERVER, CLIENT = {CPUS[0]}, {CPUS[-1]}
FREE = set(CPUS)


class Failed(Exception):
    """A run whose figure would be worth nothing."""


def pinned_to(cpus):
    return lambda: os.sched_setaffinity(0, cpus)


class Program:
    """A program of ours, spoken to in lines."""

    def __init__(self, arguments, cpus=FREE, env=None):
        self.name = Path(str(arguments[0])).name
        self.process = subprocess.Popen(
            [str(a) for a in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=pinned_to(cpus),
            env={**os.environ, **(env or {})},
        )

    def line(self):
        alarm = threading.Timer(PATIENCE, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        alarm.cancel()
        if not line:
            raise Failed(f"{self.name} ended with status {self.process.wait()} instead of saying what it found")
        return line.strip()

    def expect(self, wanted):
        got = self.line()
        if got != wanted:
            raise Failed(f'{self.name} said "{got}" instead of "{wanted}"')

    def json(self):
        return json.loads(self.line())

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def well(self):
        """It ends by itself, and says that all was well."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = f"not at all within {PATIENCE} s"
        if status:
            raise Failed(f"{self.name} ended with status {status}")

    def end(self):
        """Its stdin closes, which ends it; otherwise it is killed."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Redis:
    """A real server of our own: on a free port of the loopback, with every default but persistence, and gone at the end."""

    def __init__(self, folder, cpus, options):
        for _ in range(10):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            flags = ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder, "--loglevel", "warning"]
            self.process = subprocess.Popen(
                [str(a) for a in ["redis-server", *flags, *options]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                preexec_fn=pinned_to(cpus),
            )
            for _ in range(200):
                if self.process.poll() is not None:
                    break  # somebody else took the port meanwhile
                try:
                    if self.ask("PING") == "+PONG":
                        return
                except OSError:
                    time.sleep(0.02)
        raise Failed("redis-server did not start")

    def ask(self, command):
        """One command of plain words; its answer as it stands on the wire, without the length of a bulk string."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as s:
            s.sendall((command + "\r\n").encode())
            with s.makefile("rb") as f:
                first = f.readline().decode().strip()
                return f.read(int(first[1:])).decode() if first.startswith("$") else first

    def info(self, key):
        return next(int(l.split(":")[1]) for l in self.ask("INFO everything").splitlines() if l.startswith(key + ":"))

    def forgotten(self, names=0):
        """Waits until the names of a client that left are gone: the server takes its time for many, and serves nobody then."""
        while self.info("pubsub_channels") > names:
            time.sleep(0.05)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Workshop:
    """A folder for sockets, and every program that was started here: gone at the end, whatever happens."""

    def __enter__(self):
        # In /tmp whatever TMPDIR says: the path of a unix socket has room for 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="redmux-bench.", dir="/tmp"))
        self.programs = []
        return self

    def __exit__(self, *_):
        for program in self.programs:
            program.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, arguments, cpus=FREE, env=None):
        program = Program(arguments, cpus, env)
        self.programs.append(program)
        return program

    def redis(self, *options, cpus=SERVER):
        redis = Redis(self.folder, cpus, options)
        self.programs.append(redis)
        return redis

    def run(self, arguments, cpus=CLIENT, told=False):
        """A program that needs no other: what it reports. told: it waits for a word when it is ready."""
        program = self.start(arguments, cpus)
        try:
            if told:
                program.expect("ready")
                program.say("go")
            figures = program.json()
            program.well()
        finally:
            self.end(program)
        return figures

    def end(self, program):
        self.programs.remove(program)
        program.end()

    def blast(self, command, messages, size, *, pinned=True, channels=1, unix=False, pace=None):
        """One client against the blaster; what the client reports, after both agree on what was sent.

        command gets the address and gives the program's arguments. pace: (messages at once, microseconds)."""
        flags = ["-n", messages, "-s", size, "-c", channels]
        if unix:
            flags += ["-u", self.folder / "blaster"]
        if pace:
            flags += ["-b", pace[0], "-t", pace[1]]
        blaster = self.start([BIN / "blaster", *flags], SERVER if pinned else FREE)
        client = self.start(command(blaster.line()), CLIENT if pinned else FREE)
        try:
            client.expect("ready")
            blaster.say("go")
            figures = client.json()
            sent = blaster.json()
            client.well()
        finally:
            self.end(client)
            self.end(blaster)
            (self.folder / "blaster").unlink(missing_ok=True)
        for what in ("messages", "lengths"):
            if figures[what] != sent[what]:
                raise Failed(f"{client.name} counted {figures[what]} {what} of {sent[what]}")
        return figures
