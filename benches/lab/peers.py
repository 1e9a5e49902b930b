"""The clients: which program each is, and which of them this machine has."""

from machine import BIN, OUT


def floor(messages, size):
    return lambda address: [BIN / "floor", address, messages, size]


def program(name, messages, size):
    return lambda address: [BIN / name, address, messages, size]


def mux(way, messages, size, channels=1, inboxes=1):
    return lambda address: [BIN / "subscriber", address, messages, size, way, channels, inboxes]


def go_mpx(messages, size):
    return lambda address: [BIN / "go-mpx", address, "messages", messages]


def missing(name):
    """Why a program that is not in C or Rust is not here, or None."""
    if (BIN / name).exists():
        return None
    lines = [line for reasons in OUT.glob("*.skipped") for line in reasons.read_text().splitlines()]
    return next((line.split(": ", 1)[1] for line in lines if line.startswith(f"{name}: ")), "it was not built")


def per_message(figures):
    """CPU of a message and messages a second, beside what a program reports, which may have measured only the last of them."""
    measured = figures.get("measured", figures["messages"])
    figures["cpu_per"] = figures["cpu_ns"] / measured
    figures["rate"] = measured / figures["wall_ns"] * 1e9
    return figures


def in_turns(one, workshop, case, clients, rounds, size, **where):
    """clients: name -> (command, messages[, where it differs]). Each round begins with another client, so that none always
    runs behind the same neighbour."""
    names = list(clients)
    for name in names:
        case.runs[name] = []
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            command, messages, *own = clients[name]
            case.add(name, one(workshop, command, messages, size, **{**where, **(own[0] if own else {})}))
