"""The part of H that is about the wrappers: a question and its answer in each language, beside its usual client."""

import peers
from machine import BIN

COLUMNS = [("requests/s", "rate", 1), ("p50 us", "p50", 1e-3), ("CPU us of the asker", "cpu_per", 1e-3), ("of the responder", "served_per", 1e-3)]
OF_THREE = [("p50 us", "p50", 1e-3), ("p99 us", "p99", 1e-3), ("CPU us of the asker", "cpu_per", 1e-3), ("of the three", "served_per", 1e-3)]
# name: program, how many requests of a run, whether its responder says what it used
WAYS = {
    "redmux in C": ("request", 100_000, False),
    "redmux in Go": ("redmux-go-request", 60_000, False),
    "go-redis": ("go-redis-request", 20_000, False),
    "redmux in Python, async": ("redmux-python-request", 30_000, False),
    "redis-py, async": ("redis-py-request", 6_000, False),
    "redmux in .NET": ("redmux-dotnet", 60_000, True),
    "StackExchange.Redis": ("stackexchange-request", 20_000, True),
}
# What the original Messaging.Buffer was seen at on a machine like this, in ns: p50 and CPU of the asker at their best, CPU of all three responders.
ORIGINAL_P50, ORIGINAL_ASKER, ORIGINAL_SERVED = 490e3, 478e3, 671e3


def asked(workshop, redis, program, ask, cpus, servers=1, tells=False):
    """What the asker reports, and, where they tell, what all responders used meanwhile."""
    serving = [workshop.start([BIN / program, redis.port, "serve"], cpus) for _ in range(servers)]
    try:
        for server in serving:
            server.expect("ready")
        asker = workshop.start([BIN / program, redis.port, *ask], cpus)
        asker.expect("ready")
        before = used(serving) if tells else 0
        asker.say("go")
        figures = asker.json()
        if tells:
            figures["served_per"] = (used(serving) - before) / figures["messages"]
        asker.well()
        workshop.end(asker)
    finally:
        for server in serving:
            workshop.end(server)
    return peers.per_message(figures)


def used(serving):
    for server in serving:
        server.say("cpu")
    return sum(server.json()["cpu_ns"] for server in serving)


def many_in_flight(workshop, result, redis, where, cpus, rounds):
    case = result.case(f"64 in flight through the wrappers, {where}", COLUMNS)
    here = {}
    for name, way in WAYS.items():
        if why := peers.missing(way[0]):
            case.skipped[name] = why
        else:
            here[name] = way
            case.runs[name] = []
    names = list(here)
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            program, count, tells = here[name]
            case.add(name, asked(workshop, redis, program, ["ask", count, 64], cpus, tells=tells))

    def promise(language, us, them, bound):
        result.promise(f"64 in flight, {where}, {language}, against {them}", case.ratio(us, them, "rate"), bound, at_least=True)

    promise("Go", "redmux in Go", "go-redis", 3)
    promise("Python, async", "redmux in Python, async", "redis-py, async", 5)
    promise(".NET", "redmux in .NET", "StackExchange.Redis", 1.5)
    share = case.ratio("redmux in .NET", "StackExchange.Redis")
    result.promise(f"CPU of the asker, 64 in flight, {where}, .NET, against StackExchange.Redis", share, 1 / 3)


def of_three(workshop, result, redis, where, cpus, rounds):
    case = result.case(f"three responders, one request after another in .NET, {where}", OF_THREE)
    us, program = "redmux in .NET", "redmux-dotnet"
    if why := peers.missing(program):
        case.skipped[us] = why
    else:
        for _ in range(rounds):
            case.add(us, asked(workshop, redis, program, ["gather", 5_000, 3], cpus, servers=3, tells=True))
    seen = [("p50", "p50", ORIGINAL_P50 / 2), ("CPU of the asker", "cpu_per", ORIGINAL_ASKER / 4), ("CPU of the three", "served_per", ORIGINAL_SERVED / 4)]
    for what, key, bound in seen:
        figure = case.of(us, key) / 1e3 if case.has(us) else None
        result.promise(f"{what} with three responders in .NET, {where}", figure, bound / 1e3, None, "us")


def measure(workshop, result, redis, where, cpus, rounds):
    many_in_flight(workshop, result, redis, where, cpus, rounds)
    of_three(workshop, result, redis, where, cpus, rounds)
