"""A question and its answer with redmux in Python, as its README says: request and respond.

    redmux-python-request ADDRESS serve
    redmux-python-request ADDRESS ask COUNT IN_FLIGHT
"""

import asyncio
import sys

import redmux
from asking import ask, until_stdin_closes
from measure import ADDRESS


async def echo(request):
    return request.data


async def main():
    async with redmux.connect(f"redis://127.0.0.1:{ADDRESS}") as client:
        if sys.argv[2] == "serve":
            async with client.respond("bench", echo):
                await until_stdin_closes()
        else:

            async def one(body):
                return (await client.request("bench", body)).data

            await ask(one)


asyncio.run(main())
