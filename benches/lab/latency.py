"""D: from publish to callback."""

import time

import peers
from machine import BIN, CLIENT
from real_server import one
from report import median

TITLE = "latency from publish to callback, through a real redis-server"
COLUMNS = [("p99 us", "p99", 1e-3), ("p50 us", "p50", 1e-3), ("p99.9 us", "p999", 1e-3), ("messages/s", "rate", 1)]
HOT, MILLION = 1000, 1_000_000
SECONDS = 1.0


def rated(figures):
    figures["rate"] = figures["messages"] / figures["wall_ns"] * 1e9
    return figures


def saturated_rate(workshop, redis):
    """What the client gets when the publisher does not wait; the same placement as below."""
    run = one(redis)
    count = 1_000_000
    return median([run(workshop, lambda m, s: peers.mux("callback", m, s), count, 64)["rate"] for _ in range(3)])


def quiet(program):
    program.say("mark")
    time.sleep(SECONDS)
    program.say("report")
    return rated(program.json())


def beside_new_names(workshop, redis, program):
    """What a loop of nothing but reads sees while somebody else subscribes a million names."""
    other = workshop.start([BIN / "bare_names", redis.port, MILLION, 5_000_000_000], CLIENT)
    other.expect("ready")
    program.say("mark")
    other.say("go")
    other.json()
    program.say("report")
    workshop.end(other)
    return rated(program.json())


def after_kill(redis, program):
    """From the loss until all are active again; the program marks and reports by itself."""
    # Only the subscriber: the publisher is a normal client.
    redis.ask("CLIENT KILL TYPE pubsub")
    return rated(program.json())


def measure(workshop, result, rounds):
    redis = workshop.redis("--client-output-buffer-limit", "pubsub 0 0 0")
    for share, name in ((2, "half"), (8, "an eighth")):
        rate = int(saturated_rate(workshop, redis) / share)
        few = result.case(f"1,000 names at {name} of the saturated rate, pinned: server on one CPU, publisher and client on the other", COLUMNS)
        few.runs = {"bare loop": [], "redmux callback": []}
        many = result.case(f"the same among a million names, which are then subscribed again", COLUMNS)
        many.runs = {"bare loop, quiet": [], "bare loop, another client subscribes a million": [], "redmux, quiet": [], "redmux, subscribes its million again": []}
        for r in range(rounds):
            for client, program in (("bare loop", "bare_latency"), ("redmux callback", "mux_latency")):
                few.add(client, with_publisher(workshop, redis, program, rate, HOT, lambda p: [quiet(p)])[0])
        bare = with_publisher(workshop, redis, "bare_latency", rate, MILLION, lambda p: [
            figures for _ in range(rounds) for figures in (quiet(p), beside_new_names(workshop, redis, p))
        ])
        mux = with_publisher(workshop, redis, "mux_latency", rate, MILLION, lambda p: [
            figures for _ in range(rounds) for figures in (quiet(p), after_kill(redis, p))
        ])
        for i, client in enumerate(many.runs):
            many.runs[client] = (bare if i < 2 else mux)[i % 2 :: 2]
        result.promise(f"p99 while a million names are subscribed again, against quiet, {name} of the rate",
                       many.ratio("redmux, subscribes its million again", "redmux, quiet", "p99"), 3)


def with_publisher(workshop, redis, name, rate, names, ask):
    program = workshop.start([BIN / name, redis.port, names], CLIENT)
    try:
        program.expect("ready")
        publisher = workshop.start([BIN / "stamped_publisher", redis.port, rate, names], CLIENT)
        try:
            publisher.expect("ready")
            time.sleep(0.2)  # until the pace is steady
            return ask(program)
        finally:
            workshop.end(publisher)
    finally:
        workshop.end(program)
