"""redis-py with hiredis, as its documentation says: a loop over listen().

    redis-py ADDRESS MESSAGES PAYLOAD sync|async 2|3        with RESP2 or RESP3
"""

import asyncio
import sys

import redis
import redis.asyncio
from measure import ADDRESS, moment, name, ready
from messages import MESSAGES, report
from redis.utils import HIREDIS_AVAILABLE


def synchronous(protocol):
    pubsub = redis.Redis(port=int(ADDRESS), protocol=protocol).pubsub()
    pubsub.subscribe(name(0))
    confirmed(pubsub.get_message(timeout=10))
    ready()
    left, lengths, first = MESSAGES, 0, None
    for message in pubsub.listen():
        first = first or moment()
        lengths += len(message["channel"]) + len(message["data"])
        left -= 1
        if not left:
            break
    report(lengths, first, moment())


async def asynchronous(protocol):
    client = redis.asyncio.Redis(port=int(ADDRESS), protocol=protocol)
    pubsub = client.pubsub()
    await pubsub.subscribe(name(0))
    confirmed(await pubsub.get_message(timeout=10))
    ready()
    left, lengths, first = MESSAGES, 0, None
    async for message in pubsub.listen():
        first = first or moment()
        lengths += len(message["channel"]) + len(message["data"])
        left -= 1
        if not left:
            break
    report(lengths, first, moment())
    await pubsub.aclose()
    await client.aclose()


def confirmed(message):
    if message is None or message["type"] != "subscribe":
        sys.exit("SUBSCRIBE was not confirmed")


if not HIREDIS_AVAILABLE:
    sys.exit("redis-py does not use hiredis here")
match sys.argv[4:]:
    case ["sync", ("2" | "3") as protocol]:
        synchronous(int(protocol))
    case ["async", ("2" | "3") as protocol]:
        asyncio.run(asynchronous(int(protocol)))
    case _:
        sys.exit(__doc__)
