"""A chat: rooms are channels, joined and left while it runs. Reads commands from standard input:

    +room        join            -room        leave
    !room text   say             ?            which rooms am I in
    q            quit

    python chat.py [redis://localhost]
"""

import asyncio
import sys

import redmux


def show(line: str) -> None:
    print(line, flush=True)


def on_active(active: redmux.Active) -> None:
    show("*connected again*" if active.channel is None else f"joined {active.channel}")


async def main() -> None:
    async with redmux.connect(*sys.argv[1:2]) as client:
        rooms = await client.subscribe(
            on_message=lambda message: show(f"[{message.channel}] {message.text()}"),
            on_active=on_active,
            on_lost=lambda lost: show(f"*disconnected* {lost.text}"),
        )
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            room, _, text = line[1:].partition(" ")
            if line == "q":
                break
            if line == "?":
                show(f"in {len(rooms.channels)} rooms: {' '.join(sorted(rooms.channels))}")
            elif line[0] == "+":
                try:
                    await rooms.add(room)
                except redmux.RefusedError as error:
                    show(str(error))
            elif line[0] == "-":
                await rooms.remove(room)
            elif line[0] == "!":
                client.post(room, text)


asyncio.run(main())
