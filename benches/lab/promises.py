"""G: promises kept one after another."""

import peers
from machine import BIN, CLIENT, FREE

TITLE = "sequential round trips of promises"
COLUMNS = [("round trips/s", "rate", 1), ("CPU us each", "cpu_per", 1e-3)]


def measure(workshop, result, rounds):
    pinned = round_trips(workshop, result, rounds, "pinned", CLIENT)
    round_trips(workshop, result, rounds, "not pinned", FREE)
    against = pinned.ratio("redmux, publish and its count", "go-mpx", "rate")
    result.promise("round trips a second, against go-mpx (P1)", against, 1, at_least=True)


def round_trips(workshop, result, rounds, where, cpus):
    redis = workshop.redis(**({"cpus": FREE} if cpus is FREE else {}))
    case = result.case(f"a promise, a publish, the message; {where}", COLUMNS)
    count = 10_000
    ways = {
        "bare sockets": [BIN / "promises", redis.port, count, "bare"],
        "redmux, publish and its count": [BIN / "promises", redis.port, count, "publish"],
        "redmux, post": [BIN / "promises", redis.port, count, "post"],
    }
    if why := peers.missing("go-mpx"):
        case.skipped["go-mpx"] = why
    else:
        ways["go-mpx"] = [BIN / "go-mpx", redis.port, "promises", count]
    for r in range(rounds):
        names = list(ways)
        for name in names[r % len(names) :] + names[: r % len(names)]:
            figures = workshop.run(ways[name], cpus)
            figures["messages"] = figures["round_trips"]
            case.runs.setdefault(name, [])
            case.add(name, peers.per_message(figures))
    case.runs = {name: case.runs[name] for name in ways}
    workshop.end(redis)
    return case
