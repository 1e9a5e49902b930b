"""I: the wrappers, beside what is usual in each language."""

import peers
from machine import BIN, CLIENT, FREE
from saturated import COLUMNS, one

TITLE = "the wrappers"
SINGLE = [("CPU us/message", "cpu_per", 1e-3), ("messages/s", "rate", 1)]
BYTES = [("bytes each", "bytes_per", 1), ("CPU us each", "cpu_per", 1e-3)]
TRIPS = [("round trips/s", "rate", 1), ("CPU us each", "cpu_per", 1e-3)]
MANY = [("ms", "wall_ns", 1e-6), ("bytes each", "bytes_per", 1)]
SUBSCRIPTIONS, ROUND_TRIPS = 10_000, 10_000
CALLED = {"Python": "redmux-python", "Go": "redmux-go", ".NET": "redmux-dotnet"}
KIBIBYTES = {"Python": 6, "Go": 4, ".NET": 4}
PYTHON, GO, DOTNET = ("sync", "async"), ("Next", "Messages"), ("TryRead", "await foreach")
USUAL_GO = ("redigo", "go-redis", "rueidis")

# Messages of a saturated run: fast clients need many for a figure that the clock's grain does not blur.
FAST, MIDDLE, SLOW, SLOWEST = 6_000_000, 3_000_000, 1_000_000, 200_000


def clients(case, paced=None, scale=1.0):
    """name -> (command, messages). paced: so many messages for everybody."""
    n = lambda messages: paced or int(messages * scale)
    found = {
        "floor": (peers.floor, n(FAST)),
        "hiredis": (lambda m, s: peers.program("hiredis", m, s), n(MIDDLE)),
        "redmux in C, take": (lambda m, s: peers.mux("take", m, s), n(FAST)),
    }

    def add(name, program, messages, *more):
        if why := peers.missing(program):
            case.skipped[name] = why
        else:
            found[name] = (lambda m, s: lambda address: [BIN / program, address, m, s, *more], messages)

    for way in PYTHON:
        add(f"redmux in Python, {way}", "redmux-python", n(SLOW), way)
    for resp in (3, 2):
        for way in PYTHON:
            add(f"redis-py, RESP{resp}, {way}", "redis-py", n(SLOWEST), way, resp)
    for way in PYTHON:
        # A quarter as many: what waits it keeps in a list from whose front it takes, which costs the more the more wait.
        add(f"valkey-glide, {way}", "valkey-glide", n(SLOWEST // 4), way)
    for way in GO:
        add(f"redmux in Go, {way}", "redmux-go", n(FAST), way.lower())
    for name in USUAL_GO:
        add(name, name, n(SLOW))
    for way in DOTNET:
        # Many times as many where they come fast, of which the first half is for what is compiled while it runs: on one processor .NET
        # waits ten times as long, and runs code that it profiles until it has been busy for more than four seconds.
        add(f"redmux in .NET, {way}", "redmux-dotnet", (4 if paced else 11) * n(FAST), way.split()[-1].lower())
    return found


def best(case, *names):
    """The least CPU of a message that any of these needs; None if none is here."""
    return min((case.of(name, "cpu_per") for name in names if case.has(name)), default=None)


def ratio(case, us, *others):
    theirs = best(case, *others)
    return case.of(us, "cpu_per") / theirs if theirs and case.has(us) else None


def measure(workshop, result, rounds):
    saturated(workshop, result, rounds)
    few(workshop, result, rounds)
    trips(workshop, result, rounds)
    memory(workshop, result, rounds)
    names(workshop, result, rounds)


def saturated(workshop, result, rounds):
    for where, pinned in (("pinned", True), ("not pinned", False)):
        case = result.case(f"64 bytes from a server that has them ready, {where}", COLUMNS)
        peers.in_turns(one, workshop, case, clients(case, scale=1.0 if pinned else 0.5), rounds, 64, pinned=pinned)
        if not pinned:
            continue
        for way in PYTHON:
            us = f"redmux in Python, {way}"
            result.promise(f"Python, {way}, against redis-py with RESP3", ratio(case, us, f"redis-py, RESP3, {way}"), 1 / 10)
            result.promise(f"Python, {way}, against redis-py with RESP2", ratio(case, us, f"redis-py, RESP2, {way}"), 1 / 7)
            result.promise(f"Python, {way}, against valkey-glide", ratio(case, us, f"valkey-glide, {way}"), 1 / 5)
        for way in GO:
            result.promise(f"Go, {way}, against the best of {', '.join(USUAL_GO)}", ratio(case, f"redmux in Go, {way}", *USUAL_GO), 1 / 4)
        for way in DOTNET:
            result.promise(f".NET, {way}, against hiredis", ratio(case, f"redmux in .NET, {way}", "hiredis"), 1 / 2, 1 / 4)


def few(workshop, result, rounds):
    """Where waking up is the cost."""
    for where, pinned in (("pinned", True), ("not pinned", False)):
        case = result.case(f"one message every 50 us (20,000 a second), {where}", SINGLE)
        peers.in_turns(one, workshop, case, clients(case, 10_000), rounds, 64, pace=(1, 50), pinned=pinned)
        if pinned:
            singles = case
    bursts = result.case("32 messages every 320 us (100,000 a second), pinned", SINGLE)
    peers.in_turns(one, workshop, bursts, clients(bursts, 24_000), rounds, 64, pace=(32, 320))
    for way in PYTHON:
        us, them = f"redmux in Python, {way}", [f"redis-py, RESP{resp}, {way}" for resp in (2, 3)] + [f"valkey-glide, {way}"]
        result.promise(f"Python, {way}, one at a time, against the best peer", ratio(singles, us, *them), 1.3, 1)
        result.promise(f"Python, {way}, bursts of 32, against redis-py", ratio(bursts, us, *them[:2]), 1 / 2)
    for way in GO:
        us = f"redmux in Go, {way}"
        result.promise(f"Go, {way}, one at a time, against the best of {', '.join(USUAL_GO)}", ratio(singles, us, *USUAL_GO), 1.3, 1)
        result.promise(f"Go, {way}, bursts of 32, against the bare loop", ratio(bursts, us, "floor"), 4)
    for way in DOTNET:
        us = f"redmux in .NET, {way}"
        result.promise(f".NET, {way}, one at a time, against hiredis", ratio(singles, us, "hiredis"), 2.5)
        result.promise(f".NET, {way}, bursts of 32, against the bare loop", ratio(bursts, us, "floor"), 4)


def trips(workshop, result, rounds):
    """One message at a time, posted and read by the same program."""
    redis = workshop.redis()
    ways = {"redmux in C": ([BIN / "trips", redis.port, ROUND_TRIPS], None)}
    for us, language, way, most in (
        ("redmux in Python, sync", "Python", "trips", 2),
        ("redmux in Python, async", "Python", "trips-async", 2),
        ("redmux in Go", "Go", "trips", 1.25),
        ("redmux in .NET, ReadAsync", ".NET", "trips", 1.25),
        ("redmux in .NET, await foreach", ".NET", "trips-foreach", 1.25),
    ):
        ways[us] = ([BIN / CALLED[language], redis.port, ROUND_TRIPS, 0, way], most)
    for where, cpus in (("pinned", CLIENT), ("not pinned", FREE)):
        case = result.case(f"one message at a time through a real redis-server, posted and read, {where}", TRIPS)
        here = []
        for us, (command, _) in ways.items():
            if why := peers.missing(command[0].name):
                case.skipped[us] = why
            else:
                here.append(us)
                case.runs[us] = []
        for r in range(rounds):
            for us in here[r % len(here) :] + here[: r % len(here)]:
                case.add(us, peers.per_message(workshop.run(ways[us][0], cpus)))
        for us, (_, most) in ways.items():
            if most:
                result.promise(f"a round trip, {us}, {where}, against C", case.ratio("redmux in C", us, "rate"), most)
    workshop.end(redis)


def names(workshop, result, rounds):
    """10,000 names in one subscription: what they cost, and how long until they are active."""
    redis = workshop.redis()
    case = result.case(f"{SUBSCRIPTIONS:,} channels of one subscription, through a real redis-server", MANY)
    commands = {"redmux in C": [BIN / "names", redis.port, SUBSCRIPTIONS]}
    for language, program in CALLED.items():
        us = f"redmux in {language}"
        if why := peers.missing(program):
            case.skipped[us] = why
        else:
            commands[us] = [BIN / program, redis.port, SUBSCRIPTIONS, 0, "names"]
    for _ in range(rounds):
        for us, command in commands.items():
            redis.forgotten()
            figures = workshop.run(command, CLIENT)
            figures["bytes_per"] = figures["bytes"] / SUBSCRIPTIONS
            case.add(us, figures)
    for language in CALLED:
        us = f"redmux in {language}"
        each = case.of(us, "bytes_per") if case.has(us) else None
        result.promise(f"memory of a name among {SUBSCRIPTIONS:,}, {language}", each, 400, None, "bytes")
        result.promise(f"{SUBSCRIPTIONS:,} names active, {language}, against C", case.ratio(us, "redmux in C", "wall_ns"), 1.5)
    workshop.end(redis)


def memory(workshop, result, rounds):
    """What a process has more in memory with 10,000 subscriptions of one channel each."""
    redis = workshop.redis()
    case = result.case(f"{SUBSCRIPTIONS:,} subscriptions of one channel each, through a real redis-server", BYTES)
    for language, program in CALLED.items():
        if why := peers.missing(program):
            case.skipped[f"redmux in {language}"] = why
    here = [language for language, program in CALLED.items() if not peers.missing(program)]
    for _ in range(min(rounds, 2)):
        for language in here:
            redis.forgotten()
            figures = workshop.run([BIN / CALLED[language], redis.port, SUBSCRIPTIONS, 0, "memory"], CLIENT)
            figures["bytes_per"] = figures["bytes"] / figures["count"]
            figures["cpu_per"] = figures["cpu_ns"] / figures["count"]
            case.add(f"redmux in {language}", figures)
    for language, kibibytes in KIBIBYTES.items():
        us = f"redmux in {language}"
        each = case.of(us, "bytes_per") if case.has(us) else None
        result.promise(f"memory of a subscription of one channel, {language}", each, kibibytes * 1024, None, "bytes")
    workshop.end(redis)
