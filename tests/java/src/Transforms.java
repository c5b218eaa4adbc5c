import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.header.ConnectHeaders;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.Transformation;
import org.apache.kafka.connect.transforms.predicates.Predicate;

/** Apache's transformations and predicates, answering the cases of tests/it/java_compare/transforms.rs. */
public class Transforms {
    static final Map<String, Object> KNOWN = new HashMap<>();

    public static void main(String[] args) throws Exception {
        Lines.serve(Transforms::answer);
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    static ObjectNode answer(JsonNode task) throws Exception {
        Object[] made = new Object[1];
        ObjectNode refusal = Lines.attempt("refused", () -> {
            made[0] = make(task);
            return null;
        });
        if (refusal != null) return refusal;
        ConnectRecord<?> record = record(task.get("record"));
        return Lines.attempt("error", () -> {
            ObjectNode answer = Notation.JSON.createObjectNode();
            if (made[0] instanceof Predicate) {
                return answer.put("answer", ((Predicate) made[0]).test((ConnectRecord) record));
            }
            ConnectRecord<?> changed = ((Transformation) made[0]).apply((ConnectRecord) record);
            if (changed == null) return answer.put("drop", true);
            answer.set("record", show(changed));
            return answer;
        });
    }

    static Object make(JsonNode task) throws Exception {
        String name = task.get("class").asText() + task.get("settings");
        Object known = KNOWN.get(name);
        if (known == null) {
            Object made = Class.forName(task.get("class").asText()).getDeclaredConstructor().newInstance();
            Map<String, Object> settings = new HashMap<>();
            task.get("settings").fields().forEachRemaining(e -> settings.put(e.getKey(), e.getValue().asText()));
            if (made instanceof Predicate) ((Predicate<?>) made).configure(settings);
            else ((Transformation<?>) made).configure(settings);
            KNOWN.put(name, known = made);
        }
        return known;
    }

    static ConnectRecord<?> record(JsonNode node) {
        String topic = node.get("topic").asText();
        Integer partition = node.get("partition").isNull() ? null : node.get("partition").asInt();
        Long timestamp = node.get("timestamp").isNull() ? null : Long.parseLong(node.get("timestamp").asText());
        Schema keySchema = Notation.schema(node.get("key").get("schema"));
        Object key = Notation.value(node.get("key").get("value"));
        Schema valueSchema = Notation.schema(node.get("value").get("schema"));
        Object value = Notation.value(node.get("value").get("value"));
        ConnectHeaders headers = new ConnectHeaders();
        for (JsonNode header : node.get("headers")) {
            Schema schema = Notation.schema(header.get(1).get("schema"));
            headers.add(header.get(0).asText(), Notation.value(header.get(1).get("value")), schema);
        }
        if (node.get("offset").isNull()) {
            return new SourceRecord(Map.of(), Map.of(), topic, partition, keySchema, key, valueSchema, value, timestamp, headers);
        }
        long offset = Long.parseLong(node.get("offset").asText());
        return new SinkRecord(topic, partition == null ? 0 : partition, keySchema, key, valueSchema, value, offset,
            timestamp, TimestampType.CREATE_TIME, headers);
    }

    static ObjectNode show(ConnectRecord<?> record) {
        ObjectNode node = Notation.JSON.createObjectNode().put("topic", record.topic());
        node.put("partition", record.kafkaPartition());
        node.put("timestamp", record.timestamp() == null ? null : record.timestamp().toString());
        node.put("offset", record instanceof SinkRecord ? Long.toString(((SinkRecord) record).kafkaOffset()) : null);
        node.set("key", datum(record.keySchema(), record.key()));
        node.set("value", datum(record.valueSchema(), record.value()));
        ArrayNode headers = node.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(Notation.text(header.key())).add(datum(header.schema(), header.value()));
        }
        return node;
    }

    static ObjectNode datum(Schema schema, Object value) {
        ObjectNode node = Notation.JSON.createObjectNode();
        node.set("schema", Notation.show(schema));
        node.set("value", Notation.show(value));
        return node;
    }
}
