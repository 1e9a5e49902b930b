"""E: many names."""

import peers
from machine import BIN, CLIENT, FREE, Failed

TITLE = "many names"
TIME = [("ms", "wall_ns", 1e-6), ("CPU ms", "cpu_ns", 1e-6)]
BYTES = [("bytes each", "bytes_per", 1), ("ms", "wall_ns", 1e-6)]
NAMES, AGAIN, MILLION, EMPTY = 100_000, 200_000, 1_000_000, 100_000


def subscribed(workshop, redis, command, count, losses, cpus=CLIENT):
    """Subscribes, and is killed so often; what each took. Every name must be there each time."""
    redis.forgotten()
    program = workshop.start([*command, *([losses] if losses is not None else [])], cpus)
    lines = []
    try:
        lines.append(program.json())
        program.expect("ready")
        for _ in range(losses or 0):
            redis.ask("CLIENT KILL TYPE pubsub")
            lines.append(program.json())
            have = redis.info("pubsub_channels")
            if have != count + 1:
                raise Failed(f"{have} names are subscribed instead of {count + 1}")
        if losses is not None:
            program.well()
    finally:
        workshop.end(program)
    return lines


def measure(workshop, result, rounds):
    redis = workshop.redis()
    mux = lambda count: [BIN / "names", redis.port, count]

    def bare(count):
        redis.forgotten()
        return workshop.run([BIN / "bare_names", redis.port, count], told=True)

    there_is_mpx = peers.missing("go-mpx")

    def new_case(title, columns, *clients):
        case = result.case(title, columns)
        for client in clients:
            case.runs[client] = []
        if there_is_mpx:
            case.skipped["go-mpx"] = there_is_mpx
        return case

    active = new_case("100,000 names active, pinned (M14)", TIME, "bare client", "redmux")
    again = new_case("200,000 names active again after a kill, pinned (M10)", TIME, "bare client", "redmux")
    for _ in range(rounds):
        active.add("bare client", bare(NAMES))
        active.add("redmux", subscribed(workshop, redis, mux(NAMES), NAMES, 0)[0])
        again.add("bare client", bare(AGAIN))
        again.add("redmux", subscribed(workshop, redis, mux(AGAIN), AGAIN, 1)[1])
        if not there_is_mpx:
            for case, count, line in ((active, NAMES, 0), (again, AGAIN, 1)):
                lines = subscribed(workshop, redis, [BIN / "go-mpx", redis.port, "names", count], count, 1)
                case.add("go-mpx", lines[line])

    million = new_case("a million names with the server's default output limits, pinned", BYTES, "redmux")
    first, after_kill = subscribed(workshop, redis, mux(MILLION), MILLION, 1)
    there = MILLION  # or `subscribed` would have failed
    first["bytes_per"] = first["bytes"] / MILLION
    million.add("redmux", first)
    empty = result.case("100,000 subscriptions without names", BYTES)
    for _ in range(min(rounds, 3)):
        figures = subscribed(workshop, redis, [*mux(EMPTY), "empty"], 0, None)[0]
        figures["bytes_per"] = figures["bytes"] / EMPTY
        empty.add("redmux", figures)

    workshop.end(redis)
    redis = workshop.redis(cpus=FREE)
    free = new_case("100,000 names active, not pinned", TIME, "bare client", "redmux")
    for _ in range(rounds):
        redis.forgotten()
        free.add("bare client", workshop.run([BIN / "bare_names", redis.port, NAMES], FREE, told=True))
        free.add("redmux", subscribed(workshop, redis, [BIN / "names", redis.port, NAMES], NAMES, 0, FREE)[0])

    result.promise("100,000 names active, against the bare client", active.ratio("redmux", "bare client", "wall_ns"), 1.3)
    result.promise("200,000 names active again, against the bare client", again.ratio("redmux", "bare client", "wall_ns"), 1.5)
    result.promise("200,000 names active again, against go-mpx (M10)", again.ratio("redmux", "go-mpx", "wall_ns"), 1)
    result.promise("100,000 names active, against go-mpx (M14)", active.ratio("redmux", "go-mpx", "wall_ns"), 1)
    result.promise("a million names with default output limits, there after a kill", there, MILLION, None, "names", at_least=True)
    result.promise("memory of a subscribed name of 16 bytes, steady", million.of("redmux", "bytes_per"), 200, 120, "bytes")
    result.promise("memory of an empty subscription", empty.of("redmux", "bytes_per"), 1024, None, "bytes")
    million.note = f"Active again after a kill in {after_kill['wall_ns'] / 1e6:.0f} ms."
