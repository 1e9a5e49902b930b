"""B: as many messages as a real server can pass on."""

import peers
from machine import BIN, CLIENT, FREE, Failed
from saturated import COLUMNS, everybody

TITLE = "saturated, through a real redis-server"


def one(redis, cpus=CLIENT):
    """A bare publisher keeps the server busy; pinned, it and the client share the second CPU."""

    def run(workshop, command, messages, size):
        client = workshop.start(command(messages, size)(str(redis.port)), cpus)
        publisher = workshop.start([BIN / "bare_publisher", redis.port, messages, size, 200, 4], cpus)
        try:
            client.expect("ready")
            publisher.expect("ready")
            publisher.say("go")
            sent = publisher.json()
            figures = client.json()
            client.well()
        finally:
            workshop.end(publisher)
            workshop.end(client)
        if sent["receivers"] != messages or figures["messages"] != messages:
            raise Failed(f"{sent['receivers']} were delivered and {figures['messages']} received of {messages}")
        return peers.per_message(figures)

    return run


def measure(workshop, result, rounds):
    # No limit on what waits for a slow client: a peer that is cut off has no figure.
    redis = workshop.redis("--client-output-buffer-limit", "pubsub 0 0 0")
    for size, title, messages in ((64, "64 bytes", 0.08), (1024, "1 KiB", 0.03)):
        case = result.case(f"{title}, pinned: server on one CPU, publisher and client on the other", COLUMNS)
        clients = {name: (c, max(m, 300_000), *w) for name, (c, m, *w) in everybody(case, messages, slow=size == 64).items()}
        peers.in_turns(one(redis), workshop, case, clients, rounds, size)
        for way in ("callback", "take"):
            result.promise(f"{way}, {title}, real server, against the floor", case.ratio(f"redmux {way}", "floor"), 1.8, 1.3)
    workshop.end(redis)
    free = workshop.redis("--client-output-buffer-limit", "pubsub 0 0 0", cpus=FREE)
    case = result.case("64 bytes, not pinned", COLUMNS)
    clients = {name: (c, max(m, 300_000), *w) for name, (c, m, *w) in everybody(case, 0.08).items()}
    peers.in_turns(one(free, FREE), workshop, case, clients, rounds, 64)
