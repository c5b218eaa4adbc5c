import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.storage.HeaderConverter;

/** Apache's converters, answering the cases of tests/it/java_compare/converters.rs. Each set of settings has one instance. */
public class Converters {
    static final Map<String, Object> KNOWN = new HashMap<>();

    public static void main(String[] args) throws Exception {
        Lines.serve(Converters::answer);
    }

    static ObjectNode answer(JsonNode task) throws Exception {
        Object[] converter = new Object[1];
        ObjectNode refusal = Lines.attempt("refused", () -> {
            converter[0] = converter(task);
            return null;
        });
        if (refusal != null) return refusal;
        if (task.has("encode")) {
            JsonNode datum = task.get("encode");
            Schema schema = Notation.schema(datum.get("schema"));
            Object value = Notation.value(datum.get("value"));
            return Lines.attempt("error", () -> {
                byte[] bytes = encode(converter[0], task, schema, value);
                return Notation.JSON.createObjectNode().put("bytes", bytes == null ? null : Notation.HEX.formatHex(bytes));
            });
        }
        JsonNode hex = task.get("decode");
        byte[] bytes = hex.isNull() ? null : Notation.HEX.parseHex(hex.asText());
        return Lines.attempt("error", () -> {
            SchemaAndValue datum = decode(converter[0], task, bytes);
            // SimpleHeaderConverter answers the text "null" so; Connect's headers take it for a null without a schema.
            if (datum == null) datum = SchemaAndValue.NULL;
            ObjectNode answer = Notation.JSON.createObjectNode();
            answer.set("schema", Notation.show(datum.schema()));
            answer.set("value", Notation.show(datum.value()));
            return answer;
        });
    }

    static boolean inHeaders(JsonNode task) {
        return task.get("as").asText().equals("header");
    }

    static byte[] encode(Object converter, JsonNode task, Schema schema, Object value) {
        if (inHeaders(task)) return ((HeaderConverter) converter).fromConnectHeader("t", "h", schema, value);
        return ((Converter) converter).fromConnectData("t", new RecordHeaders(), schema, value);
    }

    static SchemaAndValue decode(Object converter, JsonNode task, byte[] bytes) {
        if (inHeaders(task)) return ((HeaderConverter) converter).toConnectHeader("t", "h", bytes);
        return ((Converter) converter).toConnectData("t", new RecordHeaders(), bytes);
    }

    static Object converter(JsonNode task) throws Exception {
        String name = task.get("class").asText() + task.get("as") + task.get("settings");
        Object known = KNOWN.get(name);
        if (known == null) {
            known = Class.forName(task.get("class").asText()).getDeclaredConstructor().newInstance();
            Map<String, Object> settings = new HashMap<>();
            task.get("settings").fields().forEachRemaining(e -> settings.put(e.getKey(), e.getValue().asText()));
            settings.put("converter.type", task.get("as").asText());
            if (inHeaders(task)) {
                ((HeaderConverter) known).configure(settings);
            } else {
                ((Converter) known).configure(settings, task.get("as").asText().equals("key"));
            }
            KNOWN.put(name, known);
        }
        return known;
    }
}
