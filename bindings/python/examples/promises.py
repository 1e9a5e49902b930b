"""Two promises, one kept and one not:  python promises.py [redis://localhost] [job-42]"""

import asyncio
import sys

import redmux


async def main(url: str | None = None, suffix: str = "job-42") -> None:
    async with redmux.connect(url) as client, client.promises("p:") as promises:
        kept, broken = promises.new(suffix, timeout=5), promises.new("nobody", timeout=1)
        await client.fulfill(f"p:{suffix}", "done")
        print(f"promise on [p:{suffix}]: [{(await kept).decode()}]")
        try:
            await broken
        except redmux.TimeoutError:
            print("promise on [p:nobody]: nobody kept it")


asyncio.run(main(*sys.argv[1:]))
