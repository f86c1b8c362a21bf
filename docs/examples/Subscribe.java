import java.io.FileReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Print every change of the public issues from the beginning, and say which numbers are repeats or missing.
 *
 *     java -cp 'kafka/libs/*' Subscribe.java client.properties ibuurt.issues.v1 [--once]
 *
 * client.properties and the ca.crt beside it come from the municipality's operator.
 */
public class Subscribe {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        try (FileReader file = new FileReader(arguments[0], StandardCharsets.UTF_8)) {
            settings.load(file);
        }
        settings.put("enable.auto.commit", "false"); // keep your position with your data instead
        settings.put("auto.offset.reset", "earliest");
        boolean once = arguments.length > 2 && arguments[2].equals("--once");
        Map<Integer, Long> last = new HashMap<>(); // by partition
        StringDeserializer text = new StringDeserializer();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, text, text)) {
            List<TopicPartition> places = consumer.partitionsFor(arguments[1]).stream()
                    .map(info -> new TopicPartition(info.topic(), info.partition()))
                    .toList();
            consumer.assign(places);
            consumer.seekToBeginning(places);
            Map<TopicPartition, Long> ends = consumer.endOffsets(places);
            do {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    take(record, last);
                }
            } while (!once || places.stream().anyMatch(place -> consumer.position(place) < ends.get(place)));
        } catch (KafkaException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }

    private static void take(ConsumerRecord<String, String> record, Map<Integer, Long> last) {
        long number = Long.parseLong(header(record, "ce_sequence"));
        long before = last.getOrDefault(record.partition(), number - 1);
        if (number <= before) {
            System.err.printf("partition %d: %d is a repeat%n", record.partition(), number);
            return;
        }
        if (number > before + 1) {
            System.err.printf("partition %d: %d to %d are not there%n", record.partition(), before + 1, number - 1);
        }
        last.put(record.partition(), number);
        // A record without a value is a tombstone: the issue is erased, or no longer public.
        System.out.printf("%d %d %s %s %s%n",
                record.partition(), number, header(record, "ce_type"), record.key(), record.value());
    }

    private static String header(ConsumerRecord<String, String> record, String name) {
        return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
    }
}
