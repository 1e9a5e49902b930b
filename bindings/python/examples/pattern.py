"""Prints every message on a pattern, and what it is told about the connection, until n came:

    python pattern.py [redis://localhost] ['news.*'] [3]
"""

import asyncio
import sys

import redmux


async def main(url: str | None = None, pattern: str = "news.*", count: str = "1") -> None:
    left = int(count)
    async with redmux.connect(url) as client, client.subscribe(pattern=pattern) as sub:
        async for event in sub.events():
            match event:
                case redmux.Active(channel=None):
                    print("active again", flush=True)
                case redmux.Active(channel=name):
                    print(f"active: [{name}]", flush=True)
                case redmux.Lost(text=text):
                    print(f"lost: {text}", flush=True)
                case redmux.Message() as m:
                    print(f"pattern: [{m.pattern}] channel: [{m.channel}] msg: [{m.text()}]", flush=True)
                    left -= 1
            if left == 0:
                break


asyncio.run(main(*sys.argv[1:]))
