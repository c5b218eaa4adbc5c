import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.text.SimpleDateFormat;
import java.util.Date;
import java.util.Locale;
import java.util.TimeZone;

/** Java's SimpleDateFormat, answering the cases of tests/it/java_compare/dates.rs. */
public class Dates {
    public static void main(String[] args) throws Exception {
        Lines.serve(Dates::answer);
    }

    static ObjectNode answer(JsonNode task) {
        SimpleDateFormat[] format = new SimpleDateFormat[1];
        ObjectNode refusal = Lines.attempt("refused", () -> {
            format[0] = new SimpleDateFormat(task.get("pattern").asText(), Locale.US);
            return null;
        });
        if (refusal != null) return refusal;
        format[0].setTimeZone(TimeZone.getTimeZone("UTC"));
        return Lines.attempt("error", () -> {
            ObjectNode answer = Notation.JSON.createObjectNode();
            if (task.has("write")) return answer.put("text", format[0].format(new Date(Long.parseLong(task.get("write").asText()))));
            return answer.put("time", Long.toString(format[0].parse(task.get("read").asText()).getTime()));
        });
    }
}
