"""A broker's subscriber: five channels of JSON, until n messages came or SIGTERM:

    python broker.py [redis://localhost] [7]
"""

import asyncio
import contextlib
import signal
import sys

import redmux


async def main(url: str | None = None, count: str = "7") -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    left = int(count)
    async with redmux.connect(url) as client, client.subscribe("orders", "users", "stock", "prices", "alerts") as sub:
        print("listening on 5 channels", flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            async for message in sub:
                try:
                    print(f"{message.channel}: {message.json()}", flush=True)
                except redmux.DecodeError as error:
                    print(f"skipped: {error}", flush=True)
                    continue
                left -= 1
                if left == 0:
                    break


asyncio.run(main(*sys.argv[1:]))
