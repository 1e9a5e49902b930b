"""Every instance counts something; any of them knows the total. Each line on standard input asks for it:

    python total_count.py [redis://localhost] [5]
"""

import asyncio
import sys

import redmux


async def main(url: str | None = None, count: str = "5") -> None:
    async with redmux.connect(url) as client, client.respond("count", lambda request: count):
        print(f"counting {count}", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            result = await client.gather("count", timeout=5, strict=True).all()
            total = sum(int(answer.text()) for answer in result.answers)
            print(f"total: {total} of {len(result.answers)} instances, {len(result.missing)} missing", flush=True)


asyncio.run(main(*sys.argv[1:]))
