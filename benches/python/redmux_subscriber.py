"""redmux in Python, as its README says: a loop over the messages of a subscription.

    redmux-python ADDRESS MESSAGES PAYLOAD sync|async
    redmux-python ADDRESS COUNT 0 memory        so many subscriptions of one channel each (redmux.sync)
    redmux-python ADDRESS COUNT 0 names         so many channels of one subscription (redmux.sync)
    redmux-python ADDRESS COUNT 0 trips|trips-async     one message at a time: posted, and read before the next one is
"""

import asyncio
import gc
import sys

import redmux
import redmux.sync
from measure import ADDRESS, moment, name, ready, resident, tell
from messages import MESSAGES, report

URL = f"redis://127.0.0.1:{ADDRESS}?inbox_policy=pause&timeout=120s"


def none_dropped(sub):
    if sub.dropped:
        sys.exit(f"{sub.dropped} messages were dropped")


def synchronous():
    with redmux.sync.connect(URL) as client, client.subscribe(name(0)) as sub:
        ready()
        left, lengths, first = MESSAGES, 0, None
        for message in sub:
            first = first or moment()
            lengths += len(message.channel) + len(message.data)
            left -= 1
            if not left:
                break
        last = moment()
        none_dropped(sub)
        report(lengths, first, last)


async def asynchronous():
    async with redmux.connect(URL) as client, client.subscribe(name(0)) as sub:
        ready()
        left, lengths, first = MESSAGES, 0, None
        async for message in sub:
            first = first or moment()
            lengths += len(message.channel) + len(message.data)
            left -= 1
            if not left:
                break
        last = moment()
        none_dropped(sub)
        report(lengths, first, last)


def memory():
    with redmux.sync.connect(URL) as client:
        subs = [client.subscribe("bench:warm-up")]
        gc.collect()
        before, first = resident(), moment()
        for n in range(MESSAGES):
            subs.append(client.subscribe(name(n)))
        last = moment()
        gc.collect()
        tell(first, last, count=MESSAGES, bytes=resident() - before)


def names():
    with redmux.sync.connect(URL) as client, client.subscribe("bench:warm-up") as sub:
        given = [name(n) for n in range(MESSAGES)]
        others = [name(n) for n in range(MESSAGES, MESSAGES + MESSAGES // 10)]
        sub.add(*others)  # what is done for the first time is not counted
        sub.remove(*others)
        client.post("bench:warm-up", b"")
        sub.next()
        gc.collect()
        before, first = resident(), moment()
        sub.add(*given)
        last = moment()
        client.post("bench:warm-up", b"")
        sub.next()  # and what told that they are active
        gc.collect()
        tell(first, last, count=MESSAGES, bytes=resident() - before)


def same(message, data):
    if message.data != data:
        sys.exit(f"{message.data!r} came, not {data!r}")


# The first tenth is not counted.
def trips():
    with redmux.sync.connect(URL) as client, client.subscribe(name(0)) as sub:
        for n in range(MESSAGES + MESSAGES // 10):
            if n == MESSAGES // 10:
                first = moment()
            data = n.to_bytes(8, "little")
            client.post(name(0), data)
            same(sub.next(), data)
        tell(first, moment(), messages=MESSAGES)


async def trips_async():
    async with redmux.connect(URL) as client, client.subscribe(name(0)) as sub:
        for n in range(MESSAGES + MESSAGES // 10):
            if n == MESSAGES // 10:
                first = moment()
            data = n.to_bytes(8, "little")
            client.post(name(0), data)
            same(await sub.next(), data)
        tell(first, moment(), messages=MESSAGES)


match sys.argv[4:]:
    case ["sync"]:
        synchronous()
    case ["async"]:
        asyncio.run(asynchronous())
    case ["memory"]:
        memory()
    case ["names"]:
        names()
    case ["trips"]:
        trips()
    case ["trips-async"]:
        asyncio.run(trips_async())
    case _:
        sys.exit(__doc__)
