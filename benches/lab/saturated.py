"""A: as many messages as the client can read, from a server that has them ready."""

import peers

TITLE = "saturated, from a server that writes prepared messages"
COLUMNS = [("CPU ns/message", "cpu_per", 1), ("M messages/s", "rate", 1e-6), ("MB resident", "rss", 1e-6)]

# How many messages for a client: fast ones need many for a figure that the clock's grain does not blur.
FAST, MIDDLE, SLOW = 12_000_000, 3_000_000, 1_000_000


def one(workshop, command, messages, size, **where):
    return peers.per_message(workshop.blast(command(messages, size), messages, size, **where))


def everybody(case, scale=1.0, slow=True):
    n = lambda messages: int(messages * scale)
    clients = {
        "floor": (peers.floor, n(FAST)),
        "redmux callback": (lambda m, s: peers.mux("callback", m, s), n(FAST)),
        "redmux take": (lambda m, s: peers.mux("take", m, s), n(FAST)),
        "hiredis": (lambda m, s: peers.program("hiredis", m, s), n(MIDDLE)),
    }
    if slow:
        clients["redis-rs"] = (lambda m, s: peers.program("redis-rs", m, s), n(SLOW))
        for name, command in (("redigo", lambda m, s: peers.program("redigo", m, s)), ("go-mpx", peers.go_mpx)):
            if why := peers.missing(name):
                case.skipped[name] = why
            else:
                clients[name] = (command, n(SLOW))
    return clients


def measure(workshop, result, rounds):
    pinned = result.case("64 bytes, pinned: server on one CPU, client on the other", COLUMNS)
    peers.in_turns(one, workshop, pinned, everybody(pinned), rounds, 64)
    free = result.case("64 bytes, not pinned", COLUMNS)
    peers.in_turns(one, workshop, free, everybody(free, 0.5), rounds, 64, pinned=False)
    large = result.case("1 KiB, pinned", COLUMNS)
    peers.in_turns(one, workshop, large, everybody(large, 0.2), rounds, 1024)
    large_free = result.case("1 KiB, not pinned", COLUMNS)
    peers.in_turns(one, workshop, large_free, everybody(large_free, 0.2, slow=False), rounds, 1024, pinned=False)
    unix = result.case("64 bytes, unix socket, pinned", COLUMNS)
    peers.in_turns(one, workshop, unix, everybody(unix, 0.5, slow=False), rounds, 64, unix=True)

    many = result.case("64 bytes over 1 and over 100,000 channels, in random order, pinned", COLUMNS)
    fan = result.case("64 bytes into 1 and into 10 inboxes, pinned", COLUMNS)
    names, inboxes = {}, {}
    # How much of it is the longer stream, which the floor reads too without looking a name up.
    names["floor, 1 channel"] = (peers.floor, FAST // 2)
    names["floor, 100,000 channels"] = (peers.floor, FAST // 2, {"channels": 100_000})
    for way in ("callback", "take"):
        names[f"{way}, 1 channel"] = (lambda m, s, w=way: peers.mux(w, m, s), FAST // 2)
        names[f"{way}, 100,000 channels"] = (lambda m, s, w=way: peers.mux(w, m, s, 100_000), FAST // 4, {"channels": 100_000})
        inboxes[f"{way}, 1 inbox"] = (lambda m, s, w=way: peers.mux(w, m, s), FAST // 2)
        inboxes[f"{way}, 10 inboxes"] = (lambda m, s, w=way: peers.mux(w, m, s, 1, 10), FAST // 4)
    peers.in_turns(one, workshop, many, names, rounds, 64)
    peers.in_turns(one, workshop, fan, inboxes, rounds, 64)

    for way in ("callback", "take"):
        us = f"redmux {way}"
        result.promise(f"{way}, 64 bytes, against the floor", pinned.ratio(us, "floor"), 4, 2.5)
        result.promise(f"{way}, 64 bytes, against hiredis", pinned.ratio(us, "hiredis"), 1 / 5)
        result.promise(f"{way}, 64 bytes, against redis-rs", pinned.ratio(us, "redis-rs"), 1 / 15)
        result.promise(f"{way}, 64 bytes, not pinned, against hiredis", free.ratio(us, "hiredis"), 1 / 2)
        result.promise(f"{way}, 1 KiB, against the floor", large.ratio(us, "floor"), 2.2, 1.6)
        more = many.of(f"{way}, 100,000 channels", "cpu_per") - many.of(f"{way}, 1 channel", "cpu_per")
        result.promise(f"{way}, a message more with 100,000 channels", more, 40, 20, "ns")
        more = fan.of(f"{way}, 10 inboxes", "cpu_per") - fan.of(f"{way}, 1 inbox", "cpu_per")
        result.promise(f"{way}, a message more into 10 inboxes", more, 150, None, "ns")
    result.promise("callback, messages a second against go-mpx (M22)", pinned.ratio("redmux callback", "go-mpx", "rate"), 1, at_least=True)
