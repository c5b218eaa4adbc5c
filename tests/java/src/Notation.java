import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Date;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;

/** Schemas and values as JSON. The notation is written down in tests/it/java_compare/notation.rs. */
final class Notation {
    static final ObjectMapper JSON = new ObjectMapper();
    static final HexFormat HEX = HexFormat.of();
    /** From so many containers of one member each on, they are shown as one step after the other. */
    static final int MANY = 20;

    static Schema schema(JsonNode node) {
        if (node == null || node.isNull()) return null;
        Schema.Type type = Schema.Type.valueOf(node.get("type").asText().toUpperCase());
        SchemaBuilder builder;
        switch (type) {
            case ARRAY: builder = SchemaBuilder.array(schema(node.get("items"))); break;
            case MAP: builder = SchemaBuilder.map(schema(node.get("keys")), schema(node.get("values"))); break;
            default: builder = new SchemaBuilder(type);
        }
        if (node.has("fields")) for (JsonNode f : node.get("fields")) builder.field(text(f.get(0)), schema(f.get(1)));
        if (node.get("optional").asBoolean()) builder.optional();
        if (node.has("name")) builder.name(text(node.get("name")));
        if (node.has("version")) builder.version(node.get("version").asInt());
        if (node.has("doc")) builder.doc(text(node.get("doc")));
        if (node.has("params")) for (JsonNode p : node.get("params")) builder.parameter(text(p.get(0)), text(p.get(1)));
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
            case "string": return text(body);
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
            case "nest": {
                Object value = value(node.get(2));
                for (int i = body.size() - 1; i >= 0; i--) value = around(body.get(i), value);
                return value;
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

    /** Null for a list, else the key of a map in an array of its own. */
    static Object around(JsonNode step, Object value) {
        if (step.isNull()) {
            List<Object> list = new ArrayList<>();
            list.add(value);
            return list;
        }
        Map<Object, Object> map = new LinkedHashMap<>();
        map.put(text(step.get(0)), value);
        return map;
    }

    /** Text with half a surrogate pair in it is no text of UTF-8: its units are shown in hex. */
    static String text(JsonNode node) {
        if (node.isTextual()) return node.asText();
        byte[] bytes = HEX.parseHex(node.get("utf16").asText());
        return ByteBuffer.wrap(bytes).asCharBuffer().toString();
    }

    static JsonNode text(String text) {
        boolean whole = text.codePoints().noneMatch(code -> code >= 0xD800 && code <= 0xDFFF);
        if (whole) return JSON.getNodeFactory().textNode(text);
        StringBuilder hex = new StringBuilder();
        for (char unit : text.toCharArray()) hex.append(HEX.toHexDigits(unit));
        return JSON.createObjectNode().put("utf16", hex.toString());
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
            for (Field field : schema.fields()) fields.addArray().add(text(field.name())).add(show(field.schema()));
        }
        if (schema.name() != null) node.set("name", text(schema.name()));
        if (schema.version() != null) node.put("version", schema.version());
        if (schema.doc() != null) node.set("doc", text(schema.doc()));
        if (schema.parameters() != null && !schema.parameters().isEmpty()) {
            ArrayNode params = node.putArray("params");
            schema.parameters().forEach((key, value) -> params.addArray().add(text(key)).add(text(value)));
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
        if (value instanceof String) return node.add("string").add(text((String) value));
        if (value instanceof byte[]) return node.add("bytes").add(HEX.formatHex((byte[]) value));
        if (value instanceof ByteBuffer) return node.add("bytes").add(HEX.formatHex(((ByteBuffer) value).array()));
        ArrayNode steps = JSON.createArrayNode();
        Object inner = chain(value, steps);
        if (steps.size() >= MANY) return node.add("nest").add(steps).add(show(inner));
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

    /** Appends the way into containers of one member each, and answers what is inside of them. */
    static Object chain(Object value, ArrayNode steps) {
        while (true) {
            if (value instanceof List && ((List<?>) value).size() == 1) {
                steps.addNull();
                value = ((List<?>) value).get(0);
            } else if (value instanceof Map && ((Map<?, ?>) value).size() == 1) {
                Map.Entry<?, ?> entry = ((Map<?, ?>) value).entrySet().iterator().next();
                if (!(entry.getKey() instanceof String)) return value;
                steps.addArray().add(text((String) entry.getKey()));
                value = entry.getValue();
            } else {
                return value;
            }
        }
    }
}
