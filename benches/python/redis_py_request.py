"""A question and its answer with redis-py's asyncio, as one usually does it: one channel for all answers of an asker, and a dict from the
number of a request to the future that waits for it. With hiredis and RESP2, which is its faster protocol.

    redis-py-request ADDRESS serve
    redis-py-request ADDRESS ask COUNT IN_FLIGHT

A question is its number, the body, and the channel for the answer; the answer is number and body.
"""

import asyncio
import itertools
import os
import sys

import redis.asyncio
from asking import BODY, ask, until_stdin_closes
from measure import ADDRESS

HEAD = 8 + BODY


async def listen(client, channel, heard):
    """Each message is given to `heard`, in a task of its own that is returned."""
    pubsub = client.pubsub()
    await pubsub.subscribe(channel)
    await pubsub.get_message(timeout=10)

    async def run():
        async for message in pubsub.listen():
            heard(message["data"])

    return asyncio.create_task(run())


async def serve(client):
    """Each question has a task, or the next one would wait until Redis has counted the receivers of the answer."""
    tasks = set()

    def answer(question):
        task = asyncio.create_task(client.publish(question[HEAD:], question[:HEAD]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await listen(client, "bench:service", answer)
    await until_stdin_closes()
    listener.cancel()


async def questions(client):
    channel, waiting, numbers = f"bench:answers:{os.getpid()}", {}, itertools.count()
    listener = await listen(client, channel, lambda answer: waiting.pop(answer[:8]).set_result(answer[8:]))

    async def one(body):
        number, answer = next(numbers).to_bytes(8, "little"), asyncio.get_running_loop().create_future()
        waiting[number] = answer
        await client.publish("bench:service", number + body + channel.encode())
        return await answer

    await ask(one)
    listener.cancel()


async def main():
    # Its own pool refuses when 100 connections are in use; this one waits for one to be free.
    pool = redis.asyncio.BlockingConnectionPool(host="127.0.0.1", port=int(ADDRESS), protocol=2, max_connections=64, timeout=20)
    client = redis.asyncio.Redis.from_pool(pool)
    await (serve(client) if sys.argv[2] == "serve" else questions(client))
    await client.aclose()


asyncio.run(main())
