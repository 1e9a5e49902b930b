"""Resources over HTTP that only one instance holds each, whichever instance is asked:

    python resource.py [redis://localhost] [node-1] [boat=red ...]
    curl http://127.0.0.1:PORT/boat
"""

import asyncio
import json
import sys

import redmux


async def main(url: str | None = None, name: str = "node-1", *resources: str) -> None:
    held = dict(resource.split("=", 1) for resource in resources)

    async def lookup(request: redmux.Request) -> redmux.Reply | None:
        key = request.text()
        return redmux.Reply(json={key: held[key], "holder": name}) if key in held else None

    async with redmux.connect(url) as client, client.respond("resource", lookup):

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            try:  # strict: that nobody has it is known when everybody who was asked has said so
                status, body = "200 OK", (await client.request("resource", path.strip("/"), timeout=5, strict=True)).data
            except redmux.NoRespondersError:  # nobody has it
                status, body = "404 Not Found", json.dumps({"error": f"no instance holds {path}"}).encode()
            except redmux.Error as error:
                status, body = "503 Service Unavailable", json.dumps({"error": str(error)}).encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            print("http://{}:{}/".format(*server.sockets[0].getsockname()), flush=True)
            await asyncio.to_thread(sys.stdin.read)  # until standard input is closed


asyncio.run(main(*sys.argv[1:]))
