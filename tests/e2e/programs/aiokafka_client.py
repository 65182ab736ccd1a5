"""aiokafka, with the arguments and the messages of kafka.py."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

broker, what, topic, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


def context(number):
    return f"00-{number + 1:032x}-{number + 1:016x}-01".encode()


async def produce():
    one = AIOKafkaProducer(bootstrap_servers=broker, client_id="till")
    await one.start()
    for number in range(count):
        headers = [("traceparent", context(number))] if number % 2 else None
        stored = await one.send_and_wait(topic, f"order {number}".encode(), headers=headers)
        assert stored.offset == number, stored
    await one.stop()
    batch = AIOKafkaProducer(bootstrap_servers=broker, client_id="till", linger_ms=500, compression_type="gzip")
    await batch.start()
    sent = [await batch.send(topic, f"again {number} ".encode() + b"x" * 500) for number in range(count)]
    stored = [(await one).offset for one in sent]
    assert stored == list(range(count, 2 * count)), stored
    await batch.stop()


async def consume():
    settings = dict(bootstrap_servers=broker, client_id="stock", group_id="stock-keepers")
    consumer = AIOKafkaConsumer(topic, auto_offset_reset="earliest", **settings)
    await consumer.start()
    for at in range(2 * count):
        message = await asyncio.wait_for(consumer.getone(), 60)
        number, word = at % count, "order" if at < count else "again"
        assert message.offset == at and message.value.startswith(f"{word} {number}".encode()), message
        expected = (("traceparent", context(number)),) if at < count and at % 2 else ()
        assert tuple(message.headers) == expected, message
    await consumer.stop()


asyncio.run({"produce": produce, "consume": consume}[what]())
print("done")
