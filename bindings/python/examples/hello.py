"""Asks whoever runs this, this one too, to say hello:  python hello.py [redis://localhost] [world]"""

import asyncio
import sys

import redmux


async def hello(request: redmux.Request) -> str:
    return f"hello {request.text()}"


async def main(url: str | None = None, whom: str = "world") -> None:
    async with redmux.connect(url) as client, client.respond("hello", hello):
        async for answer in client.gather("hello", whom):
            print(f"{answer.text()}, says {answer.responder}")


asyncio.run(main(*sys.argv[1:]))
