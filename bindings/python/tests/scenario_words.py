"""What the steps of scenarios are written in: bytes, names, limits, and the word for what was not seen."""

from typing import Any

from redmux._records import to_text

Step = dict[str, Any]


class Failed(Exception):
    """What was seen is not what the scenario says."""


def raw(value: Any, n: int = 0) -> bytes:
    if isinstance(value, str):
        return value.replace("{n}", str(n)).encode()
    return bytes.fromhex(value["hex"]) if "hex" in value else b"x" * value["fill"]


def name(value: Any, n: int = 0) -> str:
    return to_text(raw(value, n))


def limit(step: Step) -> float:
    seconds = step.get("timeout", 10)
    return float("inf") if seconds < 0 else float(seconds)
