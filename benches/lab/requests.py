"""H: a question and its answer, from another process."""

import peers
import wrapped_requests
from machine import BIN, FREE, SERVER

TITLE = "requests and their answers"
ALONE = [("p50 us", "p50", 1e-3), ("p99 us", "p99", 1e-3), ("CPU us of the asker", "cpu_per", 1e-3), ("requests/s", "rate", 1)]
MANY = [("requests/s", "rate", 1), ("p50 us", "p50", 1e-3), ("CPU us of the asker", "cpu_per", 1e-3)]
# program, how it serves, how it asks
WAYS = {
    "hiredis": ("hiredis_request", "serve", "ask"),
    "bare sockets": ("bare_request", "serve", "ask"),
    "redmux": ("request", "serve", "ask"),
    "redmux, a channel each": ("request", "serve_naive", "naive"),
}


def one(workshop, redis, way, count, window, cpus):
    name, serve, ask = WAYS[way]
    server = workshop.start([BIN / name, redis.port, serve], cpus)
    try:
        server.expect("ready")
        figures = workshop.run([BIN / name, redis.port, ask, count, window], cpus, told=True)
    finally:
        workshop.end(server)
    return peers.per_message(figures)


def measure(workshop, result, rounds):
    for where, cpus in (("all on one CPU", SERVER), ("unpinned", FREE)):
        redis = workshop.redis(cpus=cpus)
        alone = result.case(f"one request after another, {where}", ALONE)
        many = result.case(f"64 in flight, {where}", MANY)
        for r in range(rounds):
            names = list(WAYS)
            for way in names[r % len(names) :] + names[: r % len(names)]:
                alone.add(way, one(workshop, redis, way, 10_000, 1, cpus))
                if way != "hiredis":
                    many.add(way, one(workshop, redis, way, 100_000, 64, cpus))
        for case in (alone, many):
            case.runs = {way: case.runs[way] for way in WAYS if way in case.runs}
        for key in ("p50", "p99"):
            result.promise(f"{key} of one, {where}, against hiredis", alone.ratio("redmux", "hiredis", key), 1.5, 1.2)
        result.promise(f"64 in flight, {where}, against bare sockets", many.ratio("redmux", "bare sockets", "rate"), 0.4, at_least=True)
        result.promise(f"64 in flight, {where}, against a channel each", many.ratio("redmux", "redmux, a channel each", "rate"), 1.8, at_least=True)
        wrapped_requests.measure(workshop, result, redis, where, cpus, rounds)
        workshop.end(redis)
