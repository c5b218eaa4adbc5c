import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Cases on standard input, answers on standard output: one JSON a line. */
final class Lines {
    interface Subject {
        /** What throws here is a mistake of the generator and ends the run. */
        ObjectNode answer(JsonNode task) throws Exception;
    }

    interface Attempt {
        ObjectNode run() throws Throwable;
    }

    static void serve(Subject subject) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                out.println(Notation.JSON.writeValueAsString(subject.answer(Notation.JSON.readTree(line))));
            } catch (Throwable error) {
                throw new IllegalStateException(line, error);
            }
            if (!in.ready()) out.flush();
        }
        out.flush();
    }

    /** The answer, or what was thrown instead: {@code error} of a record, {@code refused} for settings. */
    static ObjectNode attempt(String kind, Attempt attempt) {
        try {
            return attempt.run();
        } catch (Throwable error) {
            return Notation.JSON.createObjectNode().put(kind, error.getClass().getSimpleName()).put("text", error.getMessage());
        }
    }
}
