// kafkajs, with the arguments and the messages of kafka.py.
const assert = require('assert');
const { Kafka, logLevel, CompressionTypes } = require('kafkajs');

const [broker, what, topic] = process.argv.slice(2);
const count = Number(process.argv[5]);

const hex = (number, digits) => number.toString(16).padStart(digits, '0');
const context = (number) => `00-${hex(number + 1, 32)}-${hex(number + 1, 16)}-01`;
const kafka = (clientId) => new Kafka({ clientId, brokers: [broker], logLevel: logLevel.NOTHING });

async function produce() {
  const admin = kafka('till').admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true });
  await admin.disconnect();
  const producer = kafka('till').producer({ allowAutoTopicCreation: false });
  await producer.connect();
  for (let number = 0; number < count; number++) {
    const headers = number % 2 ? { traceparent: context(number) } : {};
    const [stored] = await producer.send({ topic, messages: [{ value: `order ${number}`, headers }] });
    assert.equal(stored.baseOffset, String(number));
  }
  const messages = [...Array(count).keys()].map((number) => ({ value: `again ${number} ${'x'.repeat(500)}` }));
  const [stored] = await producer.send({ topic, messages, compression: CompressionTypes.GZIP });
  assert.equal(stored.baseOffset, String(count));
  await producer.disconnect();
}

async function consume() {
  const consumer = kafka('stock').consumer({ groupId: 'stock-keepers' });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  let at = 0;
  await new Promise((resolve, reject) => {
    const eachMessage = async ({ message }) => {
      try {
        assert.equal(message.offset, String(at));
        assert(message.value.toString().startsWith(`${at < count ? 'order' : 'again'} ${at % count}`));
        const expected = at < count && at % 2 ? context(at) : undefined;
        assert.equal(message.headers.traceparent?.toString(), expected);
      } catch (error) {
        reject(error);
      }
      at += 1;
      if (at === 2 * count) resolve();
    };
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
}

({ produce, consume })[what]().then(
  () => console.log('done'),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
