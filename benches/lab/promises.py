"""G: promises kept one after another."""

import peers
from machine import BIN

TITLE = "sequential round trips of promises"
COLUMNS = [("round trips/s", "rate", 1), ("CPU us each", "cpu_per", 1e-3)]


def measure(workshop, result, rounds):
    redis = workshop.redis()
    case = result.case("a promise, a publish, the message; pinned", COLUMNS)
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
            figures = workshop.run(ways[name])
            figures["messages"] = figures["round_trips"]
            case.runs.setdefault(name, [])
            case.add(name, peers.per_message(figures))
    case.runs = {name: case.runs[name] for name in ways}
    result.promise("round trips a second, against go-mpx (P1)", case.ratio("redmux, publish and its count", "go-mpx", "rate"), 1, at_least=True)
