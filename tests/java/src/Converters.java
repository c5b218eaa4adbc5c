import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.storage.HeaderConverter;

/**
 * Apache's converters, answering cases on standard input, one JSON a line. The notation is written down in
 * tests/it/java_compare/notation.rs. All converters that take part are header converters too, by the same code.
 */
public class Converters {
    static final ObjectMapper JSON = new ObjectMapper();
    static final HexFormat HEX = HexFormat.of();
    static final Map<String, HeaderConverter> KNOWN = new HashMap<>();

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(JSON.writeValueAsString(answer(JSON.readTree(line))));
        }
        out.flush();
    }

    static ObjectNode answer(JsonNode task) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        HeaderConverter converter = converter(task);
        if (task.has("encode")) {
            JsonNode datum = task.get("encode");
            // Outside of the try below: a case that Java cannot express is a mistake of the generator.
            Schema schema = schema(datum.get("schema"));
            Object value = value(datum.get("value"));
            try {
                byte[] bytes = converter.fromConnectHeader("t", "h", schema, value);
                return answer.put("bytes", bytes == null ? null : HEX.formatHex(bytes));
            } catch (Throwable error) {
                return answer.put("error", error.getClass().getSimpleName()).put("text", error.getMessage());
            }
        }
        JsonNode hex = task.get("decode");
        byte[] bytes = hex.isNull() ? null : HEX.parseHex(hex.asText());
        try {
            SchemaAndValue datum = converter.toConnectHeader("t", "h", bytes);
            // SimpleHeaderConverter answers the text "null" so; Connect's headers take it for a null without a schema.
            if (datum == null) datum = SchemaAndValue.NULL;
            answer.set("schema", show(datum.schema()));
            answer.set("value", show(datum.value()));
            return answer;
        } catch (Throwable error) {
            return answer.put("error", error.getClass().getSimpleName()).put("text", error.getMessage());
        }
    }

    static HeaderConverter converter(JsonNode task) throws Exception {
        String name = task.get("class").asText() + task.get("settings");
        HeaderConverter known = KNOWN.get(name);
        if (known == null) {
            known = (HeaderConverter) Class.forName(task.get("class").asText()).getDeclaredConstructor().newInstance();
            Map<String, Object> settings = new HashMap<>();
            task.get("settings").fields().forEachRemaining(e -> settings.put(e.getKey(), e.getValue().asText()));
            settings.put("converter.type", "header");
            known.configure(settings);
            KNOWN.put(name, known);
        }
        return known;
    }

    static Schema schema(JsonNode node) {
        if (node == null || node.isNull()) return null;
        Schema.Type type = Schema.Type.valueOf(node.get("type").asText().toUpperCase());
        SchemaBuilder builder;
        switch (type) {
            case ARRAY: builder = SchemaBuilder.array(schema(node.get("items"))); break;
            case MAP: builder = SchemaBuilder.map(schema(node.get("keys")), schema(node.get("values"))); break;
            default: builder = new SchemaBuilder(type);
        }
        if (node.has("fields")) for (JsonNode f : node.get("fields")) builder.field(f.get(0).asText(), schema(f.get(1)));
        if (node.get("optional").asBoolean()) builder.optional();
        if (node.has("name")) builder.name(node.get("name").asText());
        if (node.has("version")) builder.version(node.get("version").asInt());
        if (node.has("doc")) builder.doc(node.get("doc").asText());
        if (node.has("params")) for (JsonNode p : node.get("params")) builder.parameter(p.get(0).asText(), p.get(1).asText());
        if (node.has("default")) builder.defaultValue(value(node.get("default")));
        return builder.build();
    }

    static Object value(JsonNode node) {
        if (node.isNull()) return null;
        JsonNode body = node.get(1);
        switch (node.get(0).asText()) {
            case "bool": return body.asBoolean();
            case "i8": return (byte) body.asInt();
            case "i16": return (short) body.asInt();
            case "i32": return body.asInt();
            case "i64": return Long.parseLong(body.asText());
            case "f32": return Float.intBitsToFloat(Integer.parseUnsignedInt(body.asText(), 16));
            case "f64": return Double.longBitsToDouble(Long.parseUnsignedLong(body.asText(), 16));
            case "day": return new Date(body.asLong() * 86_400_000L);
            case "time": return new Date(body.asLong());
            case "timestamp": return new Date(Long.parseLong(body.asText()));
            case "decimal": return new BigDecimal(new BigInteger(body.asText()), node.get(2).asInt());
            case "string": return body.asText();
            case "bytes": return HEX.parseHex(body.asText());
            case "array": {
                List<Object> list = new ArrayList<>();
                for (JsonNode element : body) list.add(value(element));
                return list;
            }
            case "map": {
                Map<Object, Object> map = new LinkedHashMap<>();
                for (JsonNode entry : body) map.put(value(entry.get(0)), value(entry.get(1)));
                return map;
            }
            case "struct": {
                Struct struct = new Struct(schema(body));
                List<Field> fields = struct.schema().fields();
                for (int i = 0; i < fields.size(); i++) {
                    Object value = value(node.get(2).get(i));
                    // Unset instead of put: so a required field can be null, as the converters may meet it.
                    if (value != null) struct.put(fields.get(i), value);
                }
                return struct;
            }
            default: throw new IllegalArgumentException(node.toString());
        }
    }

    static JsonNode show(Schema schema) {
        if (schema == null) return JSON.nullNode();
        ObjectNode node = JSON.createObjectNode().put("type", schema.type().name().toLowerCase());
        node.put("optional", schema.isOptional());
        if (schema.type() == Schema.Type.ARRAY) node.set("items", show(schema.valueSchema()));
        if (schema.type() == Schema.Type.MAP) {
            node.set("keys", show(schema.keySchema()));
            node.set("values", show(schema.valueSchema()));
        }
        if (schema.type() == Schema.Type.STRUCT) {
            ArrayNode fields = node.putArray("fields");
            for (Field field : schema.fields()) fields.addArray().add(field.name()).add(show(field.schema()));
        }
        if (schema.name() != null) node.put("name", schema.name());
        if (schema.version() != null) node.put("version", schema.version());
        if (schema.doc() != null) node.put("doc", schema.doc());
        if (schema.parameters() != null && !schema.parameters().isEmpty()) {
            ArrayNode params = node.putArray("params");
            schema.parameters().forEach((key, value) -> params.addArray().add(key).add(value));
        }
        if (schema.defaultValue() != null) node.set("default", show(schema.defaultValue()));
        return node;
    }

    static JsonNode show(Object value) {
        if (value == null) return JSON.nullNode();
        ArrayNode node = JSON.createArrayNode();
        if (value instanceof Boolean) return node.add("bool").add((Boolean) value);
        if (value instanceof Byte) return node.add("i8").add((Byte) value);
        if (value instanceof Short) return node.add("i16").add((Short) value);
        if (value instanceof Integer) return node.add("i32").add((Integer) value);
        if (value instanceof Long) return node.add("i64").add(value.toString());
        if (value instanceof Float) return node.add("f32").add(Integer.toHexString(Float.floatToRawIntBits((Float) value)));
        if (value instanceof Double) return node.add("f64").add(Long.toHexString(Double.doubleToRawLongBits((Double) value)));
        if (value instanceof Date) return node.add("timestamp").add(Long.toString(((Date) value).getTime()));
        if (value instanceof BigDecimal) {
            BigDecimal decimal = (BigDecimal) value;
            return node.add("decimal").add(decimal.unscaledValue().toString()).add(decimal.scale());
        }
        if (value instanceof String) return node.add("string").add((String) value);
        if (value instanceof byte[]) return node.add("bytes").add(HEX.formatHex((byte[]) value));
        if (value instanceof ByteBuffer) return node.add("bytes").add(HEX.formatHex(((ByteBuffer) value).array()));
        if (value instanceof List) {
            ArrayNode elements = node.add("array").addArray();
            for (Object element : (List<?>) value) elements.add(show(element));
            return node;
        }
        if (value instanceof Map) {
            ArrayNode entries = node.add("map").addArray();
            ((Map<?, ?>) value).forEach((key, v) -> entries.addArray().add(show(key)).add(show(v)));
            return node;
        }
        Struct struct = (Struct) value;
        node.add("struct").add(show(struct.schema()));
        ArrayNode values = node.addArray();
        for (Field field : struct.schema().fields()) values.add(show(struct.getWithoutDefault(field.name())));
        return node;
    }
}
