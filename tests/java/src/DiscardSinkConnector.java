package io.pipette.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

/**
 * A sink that throws its records away, for the benchmark tests/it/beside_java. The same name, keys and marks as Pipette's
 * src/bench/discard.rs.
 */
public class DiscardSinkConnector extends SinkConnector {
    private Map<String, String> settings;

    @Override
    public String version() {
        return "1";
    }

    @Override
    public ConfigDef config() {
        return new ConfigDef()
                .define("records", ConfigDef.Type.LONG, ConfigDef.Importance.HIGH, "After so many records: done.")
                .define("marks", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, "Start of the marks' names.");
    }

    @Override
    public void start(Map<String, String> settings) {
        this.settings = settings;
    }

    @Override
    public Class<? extends Task> taskClass() {
        return Discard.class;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int max) {
        return Collections.singletonList(settings);
    }

    @Override
    public void stop() {}

    public static class Discard extends SinkTask {
        private long wanted;
        private long seen;
        private String marks;

        @Override
        public String version() {
            return "1";
        }

        @Override
        public void start(Map<String, String> settings) {
            wanted = Long.parseLong(settings.get("records"));
            marks = settings.get("marks");
        }

        @Override
        public void put(Collection<SinkRecord> records) {
            if (seen == 0 && !records.isEmpty()) {
                mark(".first");
            }
            long before = seen;
            seen += records.size();
            if (before < wanted && seen >= wanted) {
                mark(".done");
            }
        }

        @Override
        public void stop() {}

        private void mark(String ending) {
            try {
                Files.createFile(Path.of(marks + ending));
            } catch (IOException error) {
                throw new ConnectException(error);
            }
        }
    }
}
