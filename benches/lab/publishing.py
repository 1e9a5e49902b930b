"""F: publishing."""

import re
import subprocess

import peers
from machine import BIN, CLIENT, FREE, SERVER, Failed, pinned_to

TITLE = "publishing"
RATE = [("publishes/s", "rate", 1), ("CPU us/publish", "cpu_per", 1e-3)]
CPU = [("CPU us/publish", "cpu_per", 1e-3), ("publishes/s", "rate", 1)]
SIZE = 64


def benchmark(redis, count, cpus):
    """redis-benchmark's own word; it tells no CPU time."""
    name, payload = "bench:0000000000", "x" * SIZE
    flags = ["-h", "127.0.0.1", "-p", redis.port, "-n", count, "-P", 64, "--csv", "PUBLISH", name, payload]
    out = subprocess.run(
        [str(a) for a in ["redis-benchmark", *flags]], capture_output=True, text=True, preexec_fn=pinned_to(cpus), timeout=120
    ).stdout
    found = re.search(r'^"PUBLISH.*?","([0-9.]+)"', out, re.MULTILINE)
    if not found:
        raise Failed(f"redis-benchmark said {out!r}")
    return {"rate": float(found[1])}


def started(workshop, arguments, cpus=CLIENT):
    return peers.per_message(workshop.run(arguments, cpus, told=True))


def both(workshop, result, rounds, redis, where, cpus):
    """How many at most, and what a hundred at a time cost."""
    program = lambda name, count, *more: lambda: started(workshop, [BIN / name, redis.port, count, SIZE, *more], cpus)
    rates = {
        "redis-benchmark -P 64": lambda: benchmark(redis, 1_000_000, cpus),
        "redmux post": program("publisher", 1_000_000, "post", 5_000, 4),
        "redmux publish, counted": program("publisher", 1_000_000, "publish", 3_200),
        "bare writer, 3,200 in flight": program("bare_publisher", 1_000_000, 200, 16),
    }
    hundred = {
        "bare writer": program("bare_publisher", 500_000, 100),
        "hiredis": program("hiredis_publisher", 500_000, 100),
        "redmux post": program("publisher", 500_000, "post", 100),
        "redmux post, 16 times 100 unanswered": program("publisher", 500_000, "post", 100, 16),
    }
    rate = result.case(f"rate, 64 bytes, nobody subscribed, {where}", RATE, "redis-benchmark has 50 connections, everybody else one.")
    cpu = result.case(f"100 at a time, then all answers are awaited unless said otherwise, 64 bytes, {where}", CPU)
    for case, clients in ((rate, rates), (cpu, hundred)):
        names = list(clients)
        case.runs = {name: [] for name in names}
        for r in range(rounds):
            for name in names[r % len(names) :] + names[: r % len(names)]:
                case.add(name, clients[name]())
    return rate, cpu


def measure(workshop, result, rounds):
    free = workshop.redis(cpus=FREE)
    both(workshop, result, rounds, free, "not pinned", FREE)
    workshop.end(free)
    redis = workshop.redis()
    rate, cpu = both(workshop, result, rounds, redis, "pinned", CLIENT)

    crowd_case = result.case("ten posts every 20 ms to 1 and to 1,000 subscribers, pinned (B11)", CPU)
    for _ in range(rounds):
        for count in (1, 1000):
            crowd_case.add(f"{count:,} subscribers", with_crowd(workshop, redis, count))

    against = lambda name: rate.ratio(name, "redis-benchmark -P 64", "rate")
    result.promise("publish with count, against redis-benchmark -P 64", against("redmux publish, counted"), 0.7, at_least=True)
    result.promise("post, against redis-benchmark -P 64", against("redmux post"), 0.9, at_least=True)
    result.promise("CPU of a post, 100 at a time, against hiredis", cpu.ratio("redmux post", "hiredis"), 1 / 2)
    behind = cpu.ratio("redmux post, 16 times 100 unanswered", "hiredis")
    result.promise("the same, not waiting for each 100", behind, 1 / 2)
    result.promise("CPU of a post with 1,000 subscribers against 1 (B11)", crowd_case.ratio("1,000 subscribers", "1 subscribers"), 1.1)


def with_crowd(workshop, redis, count):
    """So seldom that a thousand deliveries of each are done before the next: else the server's pace would be measured."""
    posts = 500
    crowd = workshop.start([BIN / "crowd", redis.port, count], SERVER)
    try:
        crowd.expect("ready")
        figures = started(workshop, [BIN / "publisher", redis.port, posts, SIZE, "post", 10, 1, 20_000])
        crowd.process.stdin.close()
        read = crowd.json()["bytes"]
    finally:
        workshop.end(crowd)
    message = len(f"*3\r\n$7\r\nmessage\r\n$16\r\nbench:0000000000\r\n${SIZE}\r\n\r\n") + SIZE
    if read != posts * count * message:
        raise Failed(f"the crowd read {read} bytes of {posts * count * message}")
    return figures
