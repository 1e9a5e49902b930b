"""D: from publish to callback."""

import time

import peers
from machine import BIN, CLIENT, FREE, SERVER
from real_server import one
from report import median

TITLE = "latency from publish to callback, through a real redis-server"
COLUMNS = [("p99 us", "p99", 1e-3), ("p50 us", "p50", 1e-3), ("p99.9 us", "p999", 1e-3), ("messages/s", "rate", 1)]
HOT, MILLION = 1000, 1_000_000
SECONDS = 1


def rated(figures):
    figures["rate"] = figures["messages"] / figures["wall_ns"] * 1e9
    return figures


def saturated_rate(workshop, redis):
    """What the client gets when the publisher does not wait; the same placement as below."""
    run = one(redis)
    return median([run(workshop, lambda m, s: peers.mux("callback", m, s), 1_000_000, 64)["rate"] for _ in range(3)])


def quiet(program):
    time.sleep(0.3)  # what waited from before has gone
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
    figures = rated(program.json())
    workshop.end(other)
    redis.forgotten(HOT)
    return figures


def after_kill(redis, program):
    """From the loss until all are active again; the program marks and reports by itself."""
    # Only the subscriber: the publisher is a normal client.
    redis.ask("CLIENT KILL TYPE pubsub")
    return rated(program.json())


def measure(workshop, result, rounds):
    through_redis(workshop, result, rounds)
    through_pacer(workshop, result, rounds)


def through_redis(workshop, result, rounds):
    redis = workshop.redis("--client-output-buffer-limit", "pubsub 0 0 0")
    rate = int(saturated_rate(workshop, redis) / 2)
    placed = f"{rate:,} messages a second (half of the saturated rate), pinned: server on one CPU, publisher and client on the other"
    few = result.case(f"through redis-server, 1,000 names, {placed}", COLUMNS)
    few.runs = {"bare loop": [], "redmux callback": []}
    for _ in range(rounds):
        for client, program in (("bare loop", "bare_latency"), ("redmux callback", "mux_latency")):
            few.add(client, with_publisher(workshop, redis, program, rate, HOT, lambda p: [quiet(p)])[0])
    many = result.case(
        "the same among a million names, which are then subscribed again",
        COLUMNS,
        note="redis-server reads 16 KiB from each connection in turn. While one sends a million names, a publisher of this"
        " rate has to wait, and no client can change that: the bare loop has its peer's names subscribed beside it.",
    )
    bare = with_publisher(workshop, redis, "bare_latency", rate, MILLION, lambda p: [
        figures for _ in range(rounds) for figures in (quiet(p), beside_new_names(workshop, redis, p))
    ])
    mux = with_publisher(workshop, redis, "mux_latency", rate, MILLION, lambda p: [
        figures for _ in range(rounds) for figures in (quiet(p), after_kill(redis, p))
    ])
    many.runs = {
        "bare loop, quiet": bare[::2],
        "bare loop, while another client subscribes a million": bare[1::2],
        "redmux, quiet": mux[::2],
        "redmux, while it subscribes its million again": mux[1::2],
    }


def through_pacer(workshop, result, rounds):
    """Half of what the client can read at most, from a server that is never the one who is waited for."""
    rates = []
    with_pacer(workshop, "mux_latency", 1_000_000_000, lambda _, program: rates.extend(quiet(program)["rate"] for _ in range(3)))
    rate = int(median(rates) / 2)
    case = result.case(
        f"from a server that publishes itself, {rate:,} messages a second (half of the saturated rate), a million names, pinned", COLUMNS
    )
    free = result.case(f"the same, {rate:,} messages a second, not pinned", COLUMNS)
    beside(workshop, free, rate, rounds, FREE, FREE)
    beside(workshop, case, rate, rounds, SERVER, CLIENT)
    again = case.ratio("redmux, while it subscribes its million again", "redmux, quiet", "p99")
    result.promise("p99 while a million names are subscribed again, against quiet", again, 3)


def beside(workshop, case, rate, rounds, server, client):
    case.runs = {"bare loop, quiet": [], "redmux, quiet": [], "redmux, while it subscribes its million again": []}

    def bare(_, program):
        case.add("bare loop, quiet", quiet(program))

    def mux(pacer, program):
        case.add("redmux, quiet", quiet(program))
        pacer.say("kill")
        case.add("redmux, while it subscribes its million again", rated(program.json()))

    for r in range(rounds):
        turns = [("bare_latency", bare), ("mux_latency", mux)]
        for name, ask in turns[r % 2 :] + turns[: r % 2]:
            with_pacer(workshop, name, rate, ask, server, client)


def with_pacer(workshop, name, rate, ask, server=SERVER, client=CLIENT):
    pacer = workshop.start([BIN / "pacer", rate, MILLION], server)
    try:
        program = workshop.start([BIN / name, pacer.line(), MILLION], client)
        try:
            program.expect("ready")
            pacer.say("go")
            time.sleep(0.2)  # until the pace is steady
            ask(pacer, program)
        finally:
            workshop.end(program)
    finally:
        workshop.end(pacer)


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
