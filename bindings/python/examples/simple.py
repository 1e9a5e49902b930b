"""Subscribes to a channel and publishes to it:  python simple.py [redis://localhost]"""

import asyncio
import sys

import redmux


async def main() -> None:
    async with redmux.connect(*sys.argv[1:2]) as client, client.subscribe("mychannel") as sub:
        client.post("mychannel", "Hello World!")
        message = await sub.next(timeout=10)
        print(f"channel: [{message.channel}] msg: [{message.text()}]")


asyncio.run(main())
