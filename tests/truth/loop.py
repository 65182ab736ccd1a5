"""The service of threads.py as one event loop (asyncio): connections to the leaf are shared by all requests.

    kept     one call after another                      gather  all calls at once
    late     by a task, after the answer
Arguments: PORT of the leaf, and perhaps `poll`.
"""
import asyncio
import random
import sys
from urllib.parse import parse_qs, urlsplit

LEAF = int(sys.argv[1])
pool = []
tasks = set()


async def call(name):
    reader, writer = pool.pop() if pool else await asyncio.open_connection("127.0.0.1", LEAF)
    writer.write(f"GET /leaf?from={name} HTTP/1.1\r\nHost: leaf\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")][0]
    await reader.readexactly(int(length.split(b":")[1]))
    pool.append((reader, writer))


async def later(name, calls):
    await asyncio.sleep(0.004)
    for _ in range(calls):
        await call(name)


def start(coroutine):
    task = asyncio.ensure_future(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            asked = {key: values[0] for key, values in parse_qs(urlsplit(head.split()[1].decode()).query).items()}
            name, calls, mode = asked["id"], int(asked["calls"]), asked["mode"]
            if mode == "late":
                start(later(name, calls))
            elif mode == "gather":
                await asyncio.gather(*(call(name) for _ in range(calls)))
            else:
                for _ in range(calls):
                    await asyncio.sleep(random.random() * 0.002)
                    await call(name)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def poll():
    while True:
        await call("nobody")
        await asyncio.sleep(0.001)


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)
    print("PORT", server.sockets[0].getsockname()[1], flush=True)
    if "poll" in sys.argv:
        start(poll())
    await server.serve_forever()


asyncio.run(main())
