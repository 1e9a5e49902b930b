"""valkey-glide, as its documentation says: a subscription in its configuration, and get_pubsub_message() in a loop.

    valkey-glide ADDRESS MESSAGES PAYLOAD sync|async
"""

import asyncio
import sys

from measure import ADDRESS, moment, name, ready
from messages import MESSAGES, report


def configuration(glide):
    subscriptions = glide.GlideClientConfiguration.PubSubSubscriptions(
        {glide.GlideClientConfiguration.PubSubChannelModes.Exact: {name(0)}}, None, None
    )
    return glide.GlideClientConfiguration(
        [glide.NodeAddress("127.0.0.1", int(ADDRESS))], pubsub_subscriptions=subscriptions, request_timeout=10_000
    )


def synchronous():
    import glide_sync

    client = glide_sync.GlideClient.create(configuration(glide_sync))
    ready()
    lengths, first = 0, None
    for _ in range(MESSAGES):
        message = client.get_pubsub_message()
        first = first or moment()
        lengths += len(message.channel) + len(message.message)
    report(lengths, first, moment())
    client.close()


async def asynchronous():
    import glide

    client = await glide.GlideClient.create(configuration(glide))
    ready()
    lengths, first = 0, None
    for _ in range(MESSAGES):
        message = await client.get_pubsub_message()
        first = first or moment()
        lengths += len(message.channel) + len(message.message)
    report(lengths, first, moment())
    await client.close()


match sys.argv[4:]:
    case ["sync"]:
        synchronous()
    case ["async"]:
        asyncio.run(asynchronous())
    case _:
        sys.exit(__doc__)
