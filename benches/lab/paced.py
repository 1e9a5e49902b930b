"""C: few messages, where waking up is the cost."""

import peers
from saturated import one

TITLE = "one message at a time, and short bursts"
COLUMNS = [("CPU us/message", "cpu_per", 1e-3), ("messages/s", "rate", 1)]


def clients(messages):
    return {
        "floor": (peers.floor, messages),
        "redmux callback": (lambda m, s: peers.mux("callback", m, s), messages),
        "redmux take": (lambda m, s: peers.mux("take", m, s), messages),
        "hiredis": (lambda m, s: peers.program("hiredis", m, s), messages),
        "redis-rs": (lambda m, s: peers.program("redis-rs", m, s), messages),
    }


def measure(workshop, result, rounds):
    def both(where, pinned):
        single = result.case(f"one message every 50 us (20,000 a second), {where}", COLUMNS)
        peers.in_turns(one, workshop, single, clients(10_000), rounds, 64, pace=(1, 50), pinned=pinned)
        bursts = result.case(f"32 messages every 320 us (100,000 a second), {where}", COLUMNS)
        peers.in_turns(one, workshop, bursts, clients(48_000), rounds, 64, pace=(32, 320), pinned=pinned)
        return single, bursts

    single, bursts = both("pinned", True)
    both("not pinned", False)
    for way in ("callback", "take"):
        more = (single.of(f"redmux {way}", "cpu_per") - single.of("floor", "cpu_per")) / 1e3
        result.promise(f"{way}, one at a time, more than the bare loop", more, 5, 4, "us")
        result.promise(f"{way}, bursts of 32, against the bare loop", bursts.ratio(f"redmux {way}", "floor"), 2)
