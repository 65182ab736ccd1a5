"""Writes what a client and a Kafka broker say to each other: a relay on loopback, whose address the broker advertises.

    recorder.py LISTEN_PORT BROKER_PORT FOLDER

Each connection becomes FOLDER/NUMBER.talk: pieces in the order in which they came, each behind `>` (from the client) or
`<` (from the broker) and its length in four bytes, most significant first.
"""

import asyncio
import pathlib
import sys

NUMBER = 0


async def relay(reader, writer, mark, log):
    try:
        while piece := await reader.read(65536):
            log.write(mark + len(piece).to_bytes(4, "big") + piece)
            log.flush()
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(listen, broker, folder):
    async def serve(reader, writer):
        global NUMBER
        NUMBER += 1
        with open(folder / f"{NUMBER:04}.talk", "wb") as log:
            try:
                broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", broker)
            except OSError:
                return writer.close()
            await asyncio.gather(
                relay(reader, broker_writer, b">", log), relay(broker_reader, writer, b"<", log)
            )

    server = await asyncio.start_server(serve, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])))
