"""redmux in Python, as its README says: a loop over the messages of a subscription.

    redmux-python ADDRESS MESSAGES PAYLOAD sync|async
    redmux-python ADDRESS COUNT 0 memory        so many subscriptions of one channel each (redmux.sync)
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


match sys.argv[4:]:
    case ["sync"]:
        synchronous()
    case ["async"]:
        asyncio.run(asynchronous())
    case ["memory"]:
        memory()
    case _:
        sys.exit(__doc__)
