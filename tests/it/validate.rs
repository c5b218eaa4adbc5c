//! Validate answers against those of Apache's worker, recorded in `tests/java/recorded`.
//!
//! Documentation, offered values and the definitions of client keys are our own, so they are left out.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pipette::herder::validate::validate;
use pipette::plugins::Plugins;
use pipette::settings::worker::WorkerConfig;
use pipette::task::spec::{Role, Until};
use serde_json::{Value, json};

use crate::bed::Bed;

fn recorded(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/recorded").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What must be the same, one line a key.
fn shape(answer: &Value) -> Vec<String> {
    let mut lines: Vec<String> = answer["configs"].as_array().unwrap().iter().map(entry).collect();
    // Converter and client keys come in hash order from Java.
    let clients = lines.iter().position(|line| line.contains(".override.")).unwrap_or(lines.len());
    lines[clients..].sort();
    let mut groups: Vec<&str> =
        answer["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap()).collect();
    groups.sort_unstable();
    lines.push(json!([answer["name"], answer["error_count"], groups]).to_string());
    lines
}

fn entry(entry: &Value) -> String {
    let value = &entry["value"];
    let value = json!([value["name"], value["value"], value["errors"], value["visible"]]);
    let is_client = value[0].as_str().unwrap().contains(".override.");
    if is_client { value.to_string() } else { format!("{value} {}", definition(&entry["definition"])) }
}

fn definition(definition: &Value) -> String {
    let keys = ["type", "required", "default_value", "importance", "group", "order_in_group", "width", "display_name"];
    if definition.is_null() { "null".into() } else { keys.map(|key| definition[key].to_string()).join(" ") }
}

/// The configuration of this case uses a transformation that is not shipped yet; the test's plugins have its keys.
const FULL_CHAIN: &str = "FileStreamSource-full";

#[test]
fn validation_answers_as_apaches_worker_does() {
    let (shipped, stand_ins) = (Bed::shipped(), Bed::new());
    for case in [
        "FileStreamSource-valid",
        "FileStreamSource-class-only",
        FULL_CHAIN,
        "FileStreamSource-plugin-version-mismatch",
        "FileStreamSink-class-only",
        "FileStreamSink-list-duplicates",
        "FileStreamSink-lists",
        "FileStreamSink-full",
    ] {
        let bed = if case == FULL_CHAIN { &stand_ins } else { &shipped };
        let request = recorded(&format!("validate/{case}.request.json"));
        let class = request["connector.class"].as_str().unwrap().rsplit('.').next().unwrap();
        let answer = bed.put(&format!("/connector-plugins/{class}/config/validate"), &request.to_string());
        assert_eq!(answer.status, 200, "{case}: {}", answer.body);
        let (ours, javas) = (shape(&answer.json()), shape(&recorded(&format!("validate/{case}.response.json"))));
        for (ours, javas) in ours.iter().zip(&javas) {
            assert_eq!(ours, javas, "{case}");
        }
        assert_eq!(ours.len(), javas.len(), "{case}");
    }
}

#[test]
fn exactly_once_can_be_required_where_worker_and_connector_can_do_it() {
    let errors = |bed: &Bed, more: Value| -> Vec<String> {
        let mut config = json!({
            "connector.class": "FileStreamSource", "name": "n", "topic": "t", "exactly.once.support": "REQUIRED",
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = bed.put("/connector-plugins/FileStreamSource/config/validate", &config.to_string()).json();
        let all = answer["configs"].as_array().unwrap().iter().filter_map(|entry| entry["value"]["errors"].as_array());
        all.flatten().map(|error| error.as_str().unwrap().to_owned()).collect()
    };
    let file = json!({"file": "/tmp/in.txt"});
    let with = |support| {
        Bed::shipped_with(&[
            ("group.id", "lab"),
            ("offset.storage.topic", "offsets"),
            ("exactly.once.source.support", support),
        ])
    };
    let refused = ["This worker does not have exactly-once source support enabled."];
    assert_eq!(errors(&with("disabled"), file.clone()), refused);
    assert_eq!(errors(&with("preparing"), file.clone()), refused);
    let bed = with("Enabled");
    assert_eq!(errors(&bed, file), [""; 0]);
    let standard_input = errors(&bed, json!({}));
    assert!(
        standard_input[0].contains("with the provided configuration. Why: lines of standard input"),
        "{standard_input:?}"
    );
    let connector = errors(&bed, json!({"file": "/tmp/in.txt", "transaction.boundary": "connector"}));
    assert!(connector[0].contains("does not support connector-defined transaction boundaries"), "{connector:?}");
}

#[test]
fn a_task_is_started_with_the_transactional_id_that_apache_gives_it() {
    let bed = Bed::shipped_with(&[
        ("group.id", "lab"),
        ("offset.storage.topic", "offsets"),
        ("exactly.once.source.support", "enabled"),
    ]);
    let config = json!({
        "connector.class": "FileStreamSource", "topic": "t", "file": "/tmp/in.txt", "transaction.boundary": "INTERVAL",
        "transaction.boundary.interval.ms": "300000",
    });
    assert_eq!(bed.put("/connectors/lines/config", &config.to_string()).status, 201);
    bed.wait_for_states("lines", &["RUNNING", "RUNNING"]);
    let spec = bed.tasks.last.lock().unwrap().clone().unwrap();
    let Role::Source { producer, transactions, .. } = spec.role else { panic!("a source") };
    assert_eq!(producer["transactional.id"], "lab-lines-0");
    assert_eq!(producer["transaction.timeout.ms"], "360000");
    assert_eq!(transactions.unwrap().until, Until::Interval(Duration::from_mins(5)));
}

/// A source with that many transformations.
fn chain_of(count: usize) -> serde_json::Map<String, Value> {
    let aliases: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
    let mut config = json!({
        "name": "n", "connector.class": "FileStreamSource", "topic": "t", "transforms": aliases.join(","),
    });
    for alias in aliases {
        config[format!("transforms.{alias}.type")] = json!("org.apache.kafka.connect.transforms.HoistField$Value");
        config[format!("transforms.{alias}.field")] = json!("f");
    }
    config.as_object().unwrap().clone()
}

#[test]
fn a_long_chain_takes_no_longer_for_each_step_and_a_longer_one_is_refused() {
    let worker =
        [("bootstrap.servers", "b:1"), ("key.converter", "JsonConverter"), ("value.converter", "JsonConverter")];
    let worker = worker.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let worker = WorkerConfig::read(worker).unwrap();
    let draft = chain_of(5_000).into_iter().map(|(key, value)| (key, value.as_str().map(str::to_owned))).collect();
    let began = Instant::now();
    let found = validate(&Plugins::built_in(), &worker, &draft).unwrap();
    assert_eq!((found.error_count, found.groups().len() > 5_000), (0, true));
    // Half a minute if each step looked at all the others.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let answer = Bed::shipped().put("/connectors/n/config", &Value::from(chain_of(5_001)).to_string());
    assert_eq!(answer.status, 400);
    let why = "Invalid value for configuration transforms: it names 5001, and a connector may have 5000 transforms";
    assert!(answer.message().contains(why), "{answer:?}");
}

#[test]
fn members_stand_in_javas_order() {
    let bed = Bed::new();
    let body =
        bed.put("/connector-plugins/FileStreamSink/config/validate", r#"{"connector.class":"FileStreamSink"}"#).body;
    let javas = recorded("validate/FileStreamSink-class-only.response.json")["configs"][0]["definition"].clone();
    let mut names: Vec<String> = javas.as_object().unwrap().keys().cloned().collect();
    names.push("order".into());
    let ours: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(ours["configs"][0]["definition"].as_object().unwrap().keys().cloned().collect::<Vec<_>>(), names);
}

#[test]
fn the_keys_of_a_plugin_are_listed_as_java_lists_them() {
    let bed = Bed::shipped();
    let answer = bed.get("/connector-plugins/FileStreamSource/config");
    let lines = |list: &Value| -> Vec<String> {
        let line = |key: &Value| format!("{} {}", key["name"], definition(key));
        list.as_array().unwrap().iter().map(line).collect()
    };
    assert_eq!(lines(&answer.json()), lines(&recorded("FileStreamSourceConnector.config.json")));
    let unknown = bed.get("/connector-plugins/FileStreamSorce/config");
    assert_eq!(
        (unknown.status, unknown.message().as_str()),
        (404, "Unknown plugin FileStreamSorce. Did you mean FileStreamSource?")
    );
    let old = bed.get("/connector-plugins/FileStreamSource/config?version=9.9");
    assert_eq!(old.status, 400);
    assert!(old.message().contains("version range [9.9,9.9], available versions: [4.3.1]"));
}

#[test]
fn what_cannot_be_validated_is_a_clear_400() {
    let bed = Bed::new();
    let check = |path: &str, body: &str, part: &str| {
        let answer = bed.put(&format!("/connector-plugins/{path}/config/validate"), body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.message().contains(part), "{answer:?}");
    };
    check("FileStreamSink", r#"{"name":"x"}"#, "contains no connector type");
    check("FileStreamSin", r#"{"connector.class":"FileStreamSin"}"#, "Did you mean FileStreamSink?");
    check(
        "X",
        r#"{"connector.class":"FileStreamSink"}"#,
        "Included connector type FileStreamSink does not match request type X",
    );
    check("FileStreamSink", r#""text""#, "The body must be a JSON object, {…}, and is text");
}

#[test]
fn a_pattern_of_topics_that_can_never_match_is_refused() {
    let bed = Bed::new();
    let check = |pattern: &str| {
        let config = json!({"connector.class":"FileStreamSink","name":"x","file":"/tmp/x","topics.regex":pattern});
        let answer = bed.put("/connector-plugins/FileStreamSink/config/validate", &config.to_string());
        answer.json()["configs"].as_array().unwrap().iter().find(|row| row["value"]["name"] == "topics.regex").unwrap()
            ["value"]["errors"]
            .clone()
    };
    assert_eq!(check(r"lab\.\d+"), json!([]));
    assert_eq!(check("("), json!(["Invalid value ( for configuration topics.regex: Invalid regex: Unclosed group"]));
}

#[test]
fn a_password_is_never_shown() {
    let bed = Bed::new();
    let config = r#"{"connector.class":"ToySource","name":"x","topic":"t","secret":"hunter2"}"#;
    let answer = bed.put("/connector-plugins/ToySource/config/validate", config);
    assert_eq!(answer.json()["error_count"], 0, "{answer:?}");
    assert!(!answer.body.contains("hunter2") && answer.body.contains("[hidden]"));
}

#[test]
fn a_key_that_protects_and_cannot_be_honoured_is_refused() {
    let bed = Bed::shipped();
    let refused = |class: &str, more: serde_json::Value, key: &str| {
        let mut config = serde_json::json!({"connector.class": class, "file": "f", "topic": "t", "topics": "t"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config.as_object_mut().unwrap().remove(if class.ends_with("Sink") { "topic" } else { "topics" });
        let answer = bed.put("/connectors/a/config", &config.to_string());
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.message().contains(key), "{}", answer.message());
    };
    let key = "producer.override.plugin.library.paths";
    refused("FileStreamSource", serde_json::json!({ key: "/x.so" }), key);
    let (protocol, mechanism) = ("consumer.override.security.protocol", "consumer.override.sasl.mechanism");
    let key = "consumer.override.sasl.jaas.config";
    refused("FileStreamSink", serde_json::json!({ protocol: "SASL_SSL", mechanism: "PLAIN", key: "secret" }), key);
    refused("FileStreamSink", serde_json::json!({ protocol: "SASL_SSL", key: "secret" }), mechanism);
}

#[test]
fn dead_letters_are_not_read_again() {
    let bed = Bed::shipped();
    let errors = |pattern: &str| {
        let config = json!({"connector.class": "FileStreamSink", "name": "x", "file": "f", "topics.regex": pattern,
            "errors.tolerance": "all", "errors.deadletterqueue.topic.name": " lab.dead "});
        bed.put("/connector-plugins/FileStreamSink/config/validate", &config.to_string()).json()["error_count"].clone()
    };
    assert_eq!([errors(r"lab\.\w+"), errors("lab"), errors(r"lab\.d")], [1, 0, 0]);
}

#[test]
fn a_wrong_bound_of_memory_is_refused_before_a_task_fails_for_it() {
    let bed = Bed::shipped();
    let answer = |more: Value| {
        let mut config = json!({"connector.class": "FileStreamSource", "file": "f", "topic": "t"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bed.put("/connectors/x/config", &config.to_string())
    };
    let refused = answer(json!({"memory.max.bytes": "64k"}));
    let error = "Invalid value 64k for configuration memory.max.bytes: Not a number of type LONG";
    assert!(refused.status == 400 && refused.message().contains(error), "{refused:?}");
    assert_eq!(answer(json!({"memory.max.bytes": "4194304"})).status, 201);
}

#[test]
fn groups_of_topics_that_lack_a_key_are_refused_before_a_task_fails_for_it() {
    let bed = Bed::shipped();
    let config = |more: &[(&str, &str)]| {
        let mut config = json!({"name": "n", "connector.class": "FileStreamSource", "topic": "t", "file": "/x"});
        for (key, value) in more {
            config[key] = json!(value);
        }
        bed.put("/connectors/n/config", &config.to_string())
    };
    let refused = config(&[("topic.creation.default.partitions", "3")]);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.message().contains("topic.creation.default.replication.factor"), "{refused:?}");
    let default = [("topic.creation.default.partitions", "3"), ("topic.creation.default.replication.factor", "1")];
    let wrong =
        config(&[&default[..], &[("topic.creation.groups", "a"), ("topic.creation.a.partitions", "0")]].concat());
    assert!(wrong.message().contains("topic.creation.a."), "{wrong:?}");
    assert_eq!(config(&default).status, 201);
}

#[test]
fn sizes_that_disagree_are_refused_with_the_key_to_raise() {
    let bed = Bed::shipped();
    let answer = |request: &str| {
        let config = json!({"connector.class": "FileStreamSource", "file": "f", "topic": "t",
            "payload.inline.max.bytes": "20000000", "producer.override.max.request.size": request});
        bed.put("/connectors/x/config", &config.to_string())
    };
    let refused = answer("10000000");
    let error = "raise producer.override.max.request.size to 20001024 at least, or lower payload.inline.max.bytes";
    assert!(refused.status == 400 && refused.message().contains(error), "{refused:?}");
    assert_eq!(answer("21000000").status, 201);
}

#[test]
fn a_source_may_name_a_dead_letter_topic_and_lists_it_only_then() {
    let bed = Bed::shipped();
    let keys = |more: Value| -> Vec<(String, Value)> {
        let mut config = json!({"connector.class": "FileStreamSource", "name": "x", "file": "f", "topic": "t"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = bed.put("/connector-plugins/FileStreamSource/config/validate", &config.to_string()).json();
        let row = |row: &Value| (row["value"]["name"].as_str().unwrap().to_owned(), row["value"]["errors"].clone());
        let rows = answer["configs"].as_array().unwrap().iter().map(row);
        rows.filter(|(name, _)| name.starts_with("errors.deadletterqueue.")).collect()
    };
    assert_eq!(keys(json!({})), []);
    let copies = "errors.deadletterqueue.topic.replication.factor";
    let rows = keys(json!({"errors.deadletterqueue.topic.name": "dead", copies: "many"}));
    assert_eq!(rows.len(), 3);
    let error = format!("Invalid value many for configuration {copies}: Not a number of type SHORT");
    assert_eq!(rows[1], (copies.to_owned(), json!([error])));
}

#[test]
fn what_apaches_worker_ignores_fails_nothing_in_strict_mode() {
    let bed = Bed::shipped_with(&[("compat.strict", "true"), ("group.id", "g"), ("offset.storage.topic", "offsets")]);
    let starts = |name: &str, class: &str, more: Value| {
        let mut config = json!({"connector.class": class, "file": "/tmp/f", "errors.tolerance": "all"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let created = bed.put(&format!("/connectors/{name}/config"), &config.to_string());
        assert_eq!(created.status, 201, "{created:?}");
        bed.wait_for_states(name, &["RUNNING", "RUNNING"]);
    };
    let letters = "errors.deadletterqueue.topic.name";
    starts(
        "source",
        "FileStreamSource",
        json!({"topic": "t", letters: "offsets",
        "errors.deadletterqueue.topic.replication.factor": "many", "errors.restart.max": "often"}),
    );
    starts(
        "sink",
        "FileStreamSink",
        json!({"topics": "t", letters: "offsets", "errors.refusals.in.a.row.max": "some"}),
    );
    let config = json!({"connector.class": "FileStreamSink", "topics": "t", letters: "t"});
    let looped = bed.put("/connectors/loop/config", &config.to_string());
    assert!(looped.status == 400 && looped.message().contains("The DLQ topic 't' may not be included"), "{looped:?}");
}

#[test]
fn a_policy_that_became_stricter_holds_for_connectors_that_are_there() {
    let store = std::sync::Arc::new(crate::bed::Memory::default());
    let config = json!({"connector.class": "FileStreamSink", "file": "/tmp/f", "topics": "t",
        "consumer.override.max.poll.records": "5", "producer.override.acks": "1"});
    {
        let bed = Bed::shipped_on(std::sync::Arc::clone(&store), &[]);
        assert_eq!(bed.put("/connectors/a/config", &config.to_string()).status, 201);
        bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    }
    let bed = Bed::shipped_on(store, &[("connector.client.config.override.policy", "None")]);
    bed.wait_for_states("a", &["RUNNING", "FAILED"]);
    let trace = bed.get("/connectors/a/status").json()["tasks"][0]["trace"].to_string();
    assert!(trace.contains("consumer.override.max.poll.records: The 'None' policy does not allow"), "{trace}");
}

/// What the command says of a connector file: its exit code, its output and its errors.
fn validated(config: &Value, worker: Option<&str>) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, worker_file) = (folder.path().join("connector.json"), folder.path().join("worker.properties"));
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipette"));
    command.arg("validate").arg(&file);
    if let Some(worker) = worker {
        std::fs::write(&worker_file, worker).unwrap();
        command.arg("--worker").arg(&worker_file);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_tells_keys_that_nobody_reads_and_calls_the_rest_valid() {
    let file = json!({"name": "n", "connector.class": "FileStreamSource", "topic": "t", "flie": "/tmp/a"});
    let lab = json!({"name": "n", "connector.class": "LabFilesSource", "topic": "t", "input.path": "/tmp",
        "format": "csv", "csv.separator.chr": "59", "cleanup.policy": "NONE"});
    let sink = json!({"name": "n", "connector.class": "FileStreamSink", "topics": "t", "file": "/tmp/a",
        "value.converter": "JsonConverter", "value.converter.schema.enable": "false"});
    for (config, meant) in [
        (file, "flie is no key of this connector and has no effect. Did you mean file?"),
        (lab, "Did you mean csv.separator.char?"),
        (sink, "Did you mean value.converter.schemas.enable?"),
    ] {
        let (code, out, told) = validated(&config, None);
        assert!(code == Some(0) && out.ends_with(" is valid\n"), "{out}{told}");
        assert!(told.starts_with("pipette: warning: ") && told.lines().count() == 1 && told.contains(meant), "{told}");
    }
    let correct = json!({"name": "n", "connector.class": "FileStreamSource", "topic": "t", "file": "/tmp/a"});
    assert_eq!(validated(&correct, None).2, "");
}

#[test]
fn the_command_tells_placeholders_that_nobody_resolves_but_not_what_others_stand_for() {
    let config = |password: &str| {
        json!({"name": "n", "connector.class": "MqttSource", "mqtt.server.uri": "mqtt://localhost:1",
            "mqtt.topics": "t", "mqtt.username": "me", "mqtt.password": password, "kafka.topic": "t"})
    };
    let converters = "key.converter=StringConverter\nvalue.converter=StringConverter\n";
    let providers = "config.providers=env\nconfig.providers.env.class=EnvVarConfigProvider\n\
        config.providers.env.param.allowlist.pattern=CARGO_PKG_NAME\n";
    let worker = format!("bootstrap.servers=localhost:9092\n{converters}{providers}");
    let told = |password: &str, worker| validated(&config(password), worker).2;
    let without = told("${env:MQTT_PASSWORD}", None);
    let why =
        "mqtt.password: ${env:MQTT_PASSWORD} stays as it is written: config.providers of the worker does not name env";
    assert_eq!(without.lines().filter(|line| line.contains(why)).count(), 1, "{without}");
    let outside = told("${env:CARGO_PKG_VERSION}", Some(&worker));
    assert!(outside.contains("mqtt.password: ${env:CARGO_PKG_VERSION} stays as it is written"), "{outside}");
    assert!(!outside.contains(env!("CARGO_PKG_VERSION")), "{outside}");
    let resolved = told("${env:CARGO_PKG_NAME}", Some(&worker));
    assert!(!resolved.contains("stays"), "{resolved}");
}
