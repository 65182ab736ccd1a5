import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/** Apache Kafka's own client, and the same exchange as that of kafka.py. */
public class Kafka {
    public static void main(String[] args) throws Exception {
        String broker = args[0], topic = args[2];
        int count = Integer.parseInt(args[3]);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", broker);
        if (args[1].equals("produce")) {
            produce(settings, topic, count);
        } else {
            consume(settings, topic, count);
        }
        System.out.println("done");
    }

    static String context(int number) {
        return String.format("00-%032x-%016x-01", number + 1, number + 1);
    }

    static void produce(Properties settings, String topic, int count) throws Exception {
        settings.put("client.id", "till");
        settings.put("linger.ms", "0");
        var text = new StringSerializer();
        try (var one = new KafkaProducer<>(settings, text, text)) {
            for (int number = 0; number < count; number++) {
                var record = new ProducerRecord<>(topic, "" + number, "order " + number);
                if (number % 2 == 1) {
                    record.headers().add("traceparent", context(number).getBytes(StandardCharsets.US_ASCII));
                }
                check(one.send(record).get().offset() == number, "offset");
            }
        }
        settings.put("linger.ms", "500");
        settings.put("compression.type", "zstd");
        try (var batch = new KafkaProducer<>(settings, text, text)) {
            var stored = new ArrayList<java.util.concurrent.Future<RecordMetadata>>();
            for (int number = 0; number < count; number++) {
                stored.add(batch.send(new ProducerRecord<>(topic, null, "again " + number + " " + "x".repeat(500))));
            }
            for (int number = 0; number < count; number++) {
                check(stored.get(number).get().offset() == count + number, "offset of a batch");
            }
        }
    }

    static void consume(Properties settings, String topic, int count) {
        settings.put("client.id", "stock");
        settings.put("group.id", "stock-keepers");
        settings.put("auto.offset.reset", "earliest");
        var text = new StringDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, text, text)) {
            consumer.subscribe(List.of(topic));
            int seen = 0;
            while (seen < 2 * count) {
                for (var record : consumer.poll(Duration.ofSeconds(60))) {
                    check(record.offset() == seen, "offset");
                    check(record.value().startsWith((seen < count ? "order " : "again ") + seen % count), record.value());
                    var header = record.headers().lastHeader("traceparent");
                    var expected = seen < count && seen % 2 == 1 ? context(seen) : null;
                    var found = header == null ? null : new String(header.value(), StandardCharsets.US_ASCII);
                    check(Objects.equals(found, expected), "traceparent " + found);
                    seen++;
                }
            }
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
