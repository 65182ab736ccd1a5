"""kafka-python, with the arguments and the messages of kafka.py."""

import sys

from kafka import KafkaConsumer, KafkaProducer

broker, what, topic, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


def context(number):
    return f"00-{number + 1:032x}-{number + 1:016x}-01".encode()


def produce():
    one = KafkaProducer(bootstrap_servers=broker, client_id="till")
    for number in range(count):
        headers = [("traceparent", context(number))] if number % 2 else []
        stored = one.send(topic, f"order {number}".encode(), headers=headers).get(60)
        assert stored.offset == number, stored
    one.close()
    batch = KafkaProducer(bootstrap_servers=broker, client_id="till", linger_ms=500, compression_type="gzip")
    sent = [batch.send(topic, f"again {number} ".encode() + b"x" * 500) for number in range(count)]
    batch.flush()
    stored = [one.get(60).offset for one in sent]
    assert stored == list(range(count, 2 * count)), stored
    batch.close()


def consume():
    settings = dict(bootstrap_servers=broker, client_id="stock", group_id="stock-keepers")
    consumer = KafkaConsumer(topic, auto_offset_reset="earliest", consumer_timeout_ms=60000, **settings)
    at = 0
    for message in consumer:
        number, word = at % count, "order" if at < count else "again"
        assert message.offset == at and message.value.startswith(f"{word} {number}".encode()), message
        expected = [("traceparent", context(number))] if at < count and at % 2 else []
        assert list(message.headers) == expected, message
        at += 1
        if at == 2 * count:
            break
    assert at == 2 * count, at
    consumer.close()


{"produce": produce, "consume": consume}[what]()
print("done")
