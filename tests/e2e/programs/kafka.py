"""librdkafka's producer and consumer: `kafka.py BROKER produce|consume TOPIC COUNT`.

The producer sends COUNT messages, each by a request of its own, every other one with a trace context; then as many in
one batch. The consumer reads them all."""

import sys

from confluent_kafka import Consumer, Producer

broker, what, topic, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


def context(number):
    return f"00-{number + 1:032x}-{number + 1:016x}-01"


def produce():
    stored = []
    settings = {"bootstrap.servers": broker, "client.id": "till", "acks": "all"}
    said = lambda error, message: stored.append((str(error), message.offset()))
    one = Producer({**settings, "linger.ms": 0})
    for number in range(count):
        headers = [("traceparent", context(number))] if number % 2 else []
        one.produce(topic, f"order {number}", key=str(number), headers=headers, on_delivery=said)
        one.flush()
    batch = Producer({**settings, "linger.ms": 500, "compression.type": "zstd"})
    for number in range(count):
        batch.produce(topic, f"again {number} " + "x" * 500, on_delivery=said)
    batch.flush()
    assert stored == [("None", number) for number in range(2 * count)], stored


def consume():
    settings = {"bootstrap.servers": broker, "client.id": "stock", "group.id": "stock-keepers"}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    seen = []
    while len(seen) < 2 * count:
        message = consumer.poll(60)
        assert message is not None and message.error() is None, message and message.error()
        seen.append((message.offset(), message.value().decode().rstrip(" x"), message.headers()))
    consumer.close()
    for number in range(count):
        headers = [("traceparent", context(number).encode())] if number % 2 else None
        assert seen[number] == (number, f"order {number}", headers), seen[number]
        assert seen[count + number] == (count + number, f"again {number}", None), seen[count + number]


{"produce": produce, "consume": consume}[what]()
print("done")
