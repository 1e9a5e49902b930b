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
    """Why a peer in Go is not here, or None."""
    if (BIN / name).exists():
        return None
    reasons = OUT / "go.skipped"
    lines = reasons.read_text().splitlines() if reasons.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith(f"{name}: ")), "it was not built")
