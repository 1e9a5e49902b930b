"""What a program needs that asks or answers with asyncio: so many questions in flight, and its line at the end."""

import asyncio
import itertools
import sys
import time

from measure import moment, ready, tell

BODY = 16


async def stdin_line():
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def until_stdin_closes():
    """Says that it serves, and returns when nobody needs that any more."""
    ready()
    while await stdin_line():
        pass


async def in_flight(one, count, window):
    took, numbers = [], itertools.count()

    async def asker():
        while (number := next(numbers)) < count:
            body = number.to_bytes(BODY, "little")
            began = time.monotonic_ns()
            answer = await one(body)
            took.append(time.monotonic_ns() - began)
            if answer != body:
                sys.exit(f"the answer to {body!r} is {answer!r}")

    await asyncio.gather(*(asker() for _ in range(window)))
    return sorted(took)


async def ask(one):
    """Asks COUNT times, IN_FLIGHT at once (the third and fourth argument), each in a task that asks again and again.
    `one(body)` asks, and returns the answer, which must be its body."""
    count, window = int(sys.argv[3]), int(sys.argv[4])
    await in_flight(one, count // 10 + window, window)  # connections are made
    ready()
    if not await stdin_line():
        sys.exit(1)
    first = moment()
    took = await in_flight(one, count, window)
    tell(first, moment(), messages=count, p50=took[count // 2], p99=took[count * 99 // 100])
