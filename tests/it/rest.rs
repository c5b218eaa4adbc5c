//! REST flows: what a client sees of connectors and tasks, with plugins that behave and plugins that hang.

use std::sync::Arc;

use pipette_api::{OffsetMap, Partition, Primitive};
use serde_json::json;

use crate::bed::{Bed, wait_until};
use crate::support::free_ports;
use crate::support::rest::Rest;
use crate::support::worker::Worker;

#[test]
fn a_connector_lives_from_post_to_delete() {
    let bed = Bed::new();
    let body = r#"{"name":"a","config":{"connector.class":"ToySource","topic":"t","tasks.max":2,"rate":1.50}}"#;
    let made = bed.post("/connectors/", body);
    assert_eq!(made.status, 201, "{made:?}");
    assert!(made.head.contains("location: http://worker:1/connectors/a\r\n"), "{}", made.head);
    let config = json!({"connector.class":"ToySource","topic":"t","tasks.max":"2","rate":"1.50","name":"a"});
    assert_eq!(made.json()["config"], config);
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(bed.get("/connectors").body, r#"["a"]"#);
    assert_eq!(bed.get("/connectors/a/config").json(), config);
    let info = bed.get("/connectors/a").json();
    assert_eq!((&info["type"], &info["tasks"][1]), (&json!("source"), &json!({"connector":"a","task":1})));
    let tasks = bed.get("/connectors/a/tasks").json();
    assert_eq!((&tasks[1]["config"]["part"], &tasks[1]["config"]["topic"]), (&json!("1"), &json!("t")));
    let task = bed.get("/connectors/a/tasks/1/status").body;
    assert_eq!(task, r#"{"id":1,"state":"RUNNING","worker_id":"127.0.0.1:8083","version":"4.3.1"}"#);

    assert_eq!(bed.put("/connectors/a/pause", "").status, 202);
    bed.wait_for_states("a", &["PAUSED", "PAUSED", "PAUSED"]);
    assert_eq!(bed.put("/connectors/a/resume", "null").status, 202);
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(bed.tasks.starts_of("a"), 2, "a pause restarts nothing");
    assert_eq!(bed.put("/connectors/a/stop", "").status, 204);
    bed.wait_for_states("a", &["STOPPED"]);
    assert_eq!(bed.put("/connectors/a/resume", "").status, 202);
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);

    let kept = bed.folders.of(&"a".into()).within("task-0").path().unwrap().unwrap();
    assert!(kept.is_dir());
    assert_eq!(bed.delete("/connectors/a").status, 204);
    assert!(!kept.exists() && !kept.parent().unwrap().exists(), "what it kept on disk goes with it");
    assert_eq!(bed.get("/connectors/a").message(), "Connector a not found");
    wait_until(|| bed.tasks.running(), Vec::is_empty);
    assert!(bed.store.connectors.lock().unwrap().is_empty());
}

#[test]
fn a_task_that_cannot_start_yet_says_why() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[]);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    bed.tasks.wait("a", 0, "Cannot start yet; trying again: input.path: folder /inbox does not exist");
    bed.wait_for_states("a", &["RUNNING", "UNASSIGNED"]);
    let trace = bed.get("/connectors/a/status").json()["tasks"][0]["trace"].clone();
    assert!(trace.as_str().unwrap().contains("input.path: folder /inbox does not exist"), "{trace}");
}

#[test]
fn connectors_survive_a_restart_as_they_were_wanted() {
    let bed = Bed::new();
    bed.create("runs", "ToySource", &[]);
    bed.create("waits", "ToySource", &[]);
    bed.create("stands", "ToySource", &[]);
    bed.wait_for_states("waits", &["RUNNING", "RUNNING"]);
    bed.put("/connectors/waits/pause", "");
    bed.put("/connectors/stands/stop", "");
    let again = Bed::on(Arc::clone(&bed.store));
    again.wait_for_states("runs", &["RUNNING", "RUNNING"]);
    again.wait_for_states("waits", &["PAUSED"]);
    again.wait_for_states("stands", &["STOPPED"]);
}

#[test]
fn a_connector_that_fails_says_why_and_the_worker_goes_on() {
    let bed = Bed::new();
    bed.create("fails", "FailsInStart", &[]);
    bed.create("panics", "Panics", &[]);
    bed.create("many", "ToySource", &[("tasks", "3")]);
    for (name, why) in [
        ("fails", "Connector fails failed in start: cannot reach the device: cable unplugged. Correct"),
        ("panics", "Connector panics failed in start: the connector panicked: on purpose. Remove"),
        ("many", "Connector many failed in task_configs: Connector many planned 3 tasks, more than tasks.max=1 allows"),
    ] {
        // On a busy machine it may be told as late first.
        let trace = || bed.get(&format!("/connectors/{name}/status")).json()["connector"]["trace"].clone();
        wait_until(trace, |trace| trace.as_str().is_some_and(|trace| trace.starts_with(why)));
        bed.wait_for_states(name, &["FAILED"]);
    }
    bed.assert_prompt();
}

#[test]
fn only_what_failed_is_restarted() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[("tasks.max", "2")]);
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);
    bed.tasks.fail("a", 1, "Cannot read line 7");
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "FAILED"]);
    assert_eq!(bed.get("/connectors/a/status").json()["tasks"][1]["trace"], "Cannot read line 7");
    let answer = bed.post("/connectors/a/restart?includeTasks=True&onlyFailed=TRUE", r#""""#);
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["tasks"][1]["trace"], "Cannot read line 7", "the old trace still shows");
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(bed.tasks.starts_of("a"), 3);
    assert_eq!(bed.post("/connectors/a/tasks/0/restart", "").status, 204);
    wait_until(|| bed.tasks.starts_of("a"), |starts| *starts == 4);
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(bed.post("/connectors/a/restart", "").status, 204);
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(bed.tasks.starts_of("a"), 4, "an unchanged plan leaves tasks alone");
    let unknown = bed.post("/connectors/a/tasks/9/restart", "");
    assert_eq!((unknown.status, unknown.message().as_str()), (404, "Unknown task: a-9"));
}

#[test]
fn numbers_have_the_names_that_are_asked_for() {
    let bed = Bed::shipped();
    let body = r#"{"connector.class":"FileStreamSource","file":"/tmp/none","topic":"t","transforms":"f","predicates":"p",
        "transforms.f.type":"Filter","transforms.f.predicate":"p","predicates.p.type":"RecordIsTombstone"}"#;
    assert_eq!(bed.put("/connectors/a/config", body).status, 201);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    let has = |query: &str, lines: &[&str]| {
        let page = bed.get(&format!("/metrics{query}")).body;
        for line in lines {
            assert!(page.lines().any(|found| found == *line), "{line} in\n{page}");
        }
        page
    };
    let source = "org.apache.kafka.connect.file.FileStreamSourceConnector";
    let own = has(
        "",
        &[
            r#"kafka_connect_connector_status{connector="a",status="running"} 1"#,
            &format!(r#"kafka_connect_connector_connector_class{{connector="a",connector_class="{source}"}} 1"#),
            r#"kafka_connect_connector_task_status{connector="a",task="0",status="running"} 1"#,
            "kafka_connect_worker_task_count 1",
            "kafka_connect_worker_connector_startup_success_percentage 1",
            r#"kafka_connect_worker_connector_destroyed_task_count{connector="a"} 0"#,
            r#"kafka_connect_coordinator_assigned_tasks{clientid="connect-127.0.0.1:8083"} 1"#,
            "# TYPE kafka_connect_worker_connector_startup_attempts_total counter",
        ],
    );
    assert!(
        own.contains("kafka_connect_connector_task_running_ratio{connector=\"a\",task=\"0\"} ")
            && !own.contains("_metrics_")
    );
    let predicate = "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone";
    has(
        "?dialect=reporter,strimzi",
        &[
            r#"kafka_connect_connector_metrics_status_info{connector="a",status="running"} 1"#,
            &format!(
                r#"kafka_connect_connector_predicate_metrics_predicate_class_info{{connector="a",task="0",predicate="p",predicate_class="{predicate}"}} 1"#
            ),
            "kafka_connect_connect_worker_metrics_task_count 1",
            "kafka_connect_worker_task_count 1",
        ],
    );
    let confluent = has(
        "?dialect=confluent",
        &[
            r#"kafka_connect_connector_metrics{connector="a",status="running"} 1"#,
            r#"kafka_connect_connect_worker_metrics_task_count{connector="aggregate"} 1"#,
            r#"kafka_connect_connect_worker_metrics_connector_running_task_count{connector="a"} 1"#,
            r#"kafka_connect_connect_coordinator_metrics_assigned_tasks{client_id="connect-127.0.0.1:8083"} 1"#,
            "# TYPE kafka_connect_connector_metrics untyped",
        ],
    );
    assert!(!confluent.contains("kafka_connect_worker_task_count"));
    let exporter = [
        r#"kafka_connect_connector_status{connector="a",task="0",status="running"} 1"#,
        r#"kafka_connect_connect_worker_connector_running_task_count{connector="a"} 1"#,
    ];
    has("?dialect=jmx-exporter", &exporter);
    assert_eq!(bed.get("/metrics?dialect=prometheus").status, 400);
}

#[test]
fn metrics_show_the_states() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[("tasks.max", "2")]);
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "RUNNING"]);
    bed.tasks.fail("a", 1, "Cannot read line 7");
    bed.wait_for_states("a", &["RUNNING", "RUNNING", "FAILED"]);
    let page = bed.get("/metrics").body;
    for line in [
        r#"kafka_connect_connector_task_status{connector="a",task="1",status="failed"} 1"#,
        r#"kafka_connect_connector_status{connector="a",status="running"} 1"#,
        r#"kafka_connect_worker_connector_failed_task_count{connector="a"} 1"#,
        "kafka_connect_worker_task_startup_success_total 2",
        "kafka_connect_worker_connector_count 1",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    bed.delete("/connectors/a");
    wait_until(|| bed.get("/metrics").body, |page| !page.contains(r#"connector="a""#));
}

#[test]
fn a_new_configuration_restarts_tasks_and_the_same_one_does_not() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[]);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    let same = r#"{"connector.class":"ToySource","topic":"t"}"#;
    assert_eq!(bed.put("/connectors/a/config", same).status, 200);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    assert_eq!(bed.tasks.starts_of("a"), 1);
    let patched = bed.send("PATCH", "/connectors/a/config", &[], r#"{"topic":"u","tasks.max":null}"#);
    assert_eq!((patched.status, &patched.json()["config"]["topic"]), (200, &json!("u")));
    wait_until(|| bed.tasks.starts_of("a"), |starts| *starts == 2);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    assert_eq!(bed.put("/connectors/new/config", same).status, 201);
}

#[test]
fn a_task_that_does_not_stop_is_left_to_itself() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[]);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    bed.tasks.stubborn.lock().unwrap().push("a".into());
    assert_eq!(bed.post("/connectors/a/tasks/0/restart", "").status, 204);
    assert_eq!(bed.tasks.starts_of("a"), 1, "not beside the old one");
    bed.assert_prompt();
    wait_until(|| bed.tasks.starts_of("a"), |starts| *starts == 2);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
}

#[test]
fn errors_have_javas_status_and_form() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[]);
    let check = |method: &str, path: &str, headers: &[&str], body: &str, expected: (u16, &str)| {
        let answer = bed.send(method, path, headers, body);
        assert_eq!(answer.status, expected.0, "{method} {path}: {answer:?}");
        assert!(answer.message().contains(expected.1), "{method} {path}: {answer:?}");
    };
    let again = r#"{"name":"a","config":{"connector.class":"ToySource","topic":"t"}}"#;
    check("POST", "/connectors", &[], again, (409, "Connector a already exists"));
    let other = r#"{"name":"b","config":{"name":"c","connector.class":"ToySource"}}"#;
    check(
        "POST",
        "/connectors",
        &[],
        other,
        (400, "Connector name configuration (c) doesn't match connector name in the URL (b)"),
    );
    let invalid = r#"{"name":" ","config":{"connector.class":"ToySource","tasks.max":"0"}}"#;
    check(
        "POST",
        "/connectors",
        &[],
        invalid,
        (
            400,
            "contains the following 3 error(s):\nInvalid value  for configuration name: String may not be empty\nInvalid value 0 for configuration tasks.max: Value must be at least 1\nMissing required configuration \"topic\" which has no default value.\nYou can also find",
        ),
    );
    check("POST", "/connectors", &[], "{\"name\":\n x}", (400, "at line 2 column 2"));
    check("POST", "/connectors", &[], r#"{"name":"b","configs":{}}"#, (400, "has a member \"configs\""));
    check("POST", "/connectors", &[], r#"{"name":"b"}"#, (400, "has no \"config\""));
    check("POST", "/connectors", &[], "", (400, "needs a body"));
    let array = r#"["b",{"connector.class":"ToySource","topic":"t"}]"#;
    check("POST", "/connectors", &[], array, (400, "must be a JSON object"));
    check("PUT", "/connectors/b/config", &[], r#"{"a":[1]}"#, (400, "The value of a must be text"));
    check("PUT", "/connectors/b/config", &["Content-Type: text/plain"], "{}", (415, "HTTP 415 Unsupported Media Type"));
    check("GET", "/connectors", &["Accept: text/plain"], "", (406, "HTTP 406 Not Acceptable"));
    check("GET", "/nothing", &["Accept: text/plain"], "", (404, "HTTP 404 Not Found"));
    check("DELETE", "/connectors", &[], "", (405, "HTTP 405 Method Not Allowed"));
    check("GET", "/connectors/x/status", &[], "", (404, "No status found for connector x"));
    check("DELETE", "/connectors/x", &[], "", (404, "Connector x not found"));
    check("PUT", "/connectors/x/pause", &[], "", (404, "Unknown connector x"));
    check("POST", "/connectors/x/restart", &[], "", (404, "Unknown connector: x"));
    check("GET", "/connectors/a/tasks/x/status", &[], "", (404, "HTTP 404 Not Found"));
    let state = r#"{"name":"b","config":{"connector.class":"ToySource","topic":"t"},"initial_state":"ON"}"#;
    check("POST", "/connectors", &[], state, (400, "initial_state is \"ON\"; it can be RUNNING, PAUSED or STOPPED"));
}

#[test]
fn a_body_that_is_no_object_is_told_by_what_it_is() {
    let bed = Bed::shipped();
    let config = r#"{"connector.class":"FileStreamSource","file":"/tmp/none","topic":"t"}"#;
    assert_eq!(bed.put("/connectors/a/config", config).status, 201);
    assert_eq!(bed.put("/connectors/a/stop", "").status, 204);
    bed.wait_for_states("a", &["STOPPED"]);
    let kinds =
        [("null", "null"), ("[]", "a list"), ("-1.5", "a number"), (r#""x""#, "text"), (" false", "true or false")];
    for (method, path) in [
        ("POST", "/connectors"),
        ("PUT", "/connectors/a/config"),
        ("PATCH", "/connectors/a/config"),
        ("PATCH", "/connectors/a/offsets"),
        ("PUT", "/connector-plugins/FileStreamSource/config/validate"),
        ("PUT", "/admin/loggers/root"),
        ("POST", "/transforms/preview"),
        ("POST", "/connectors/a/dlq/replay"),
    ] {
        for (body, kind) in kinds {
            let answer = bed.send(method, path, &[], body);
            assert_eq!(answer.status, 400, "{method} {path} {body}: {answer:?}");
            let told = format!("The body must be a JSON object, {{…}}, and is {kind}");
            assert_eq!(answer.message(), told, "{method} {path} {body}");
        }
        let answer = bed.send(method, path, &[], "nonsense");
        assert!(answer.message().starts_with("The body is not as expected: expected ident at line 1"), "{answer:?}");
    }
    let within = bed.post("/connectors", r#"{"name":"b","config":7}"#);
    assert_eq!(within.message(), r#""config" must be a JSON object, {…}, and is a number"#);
    let within = bed.post("/transforms/preview", r#"{"config":null,"records":[]}"#);
    assert_eq!(within.message(), r#""config" must be a JSON object, {…}, and is null"#);
}

#[test]
fn json_is_nested_as_deep_as_the_page_says() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[]);
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let message = |levels: usize| bed.send("PATCH", "/connectors/a/offsets", &[], &nested(levels)).message();
    assert!(message(127).contains("has a member \"a\""), "{}", message(127));
    assert!(message(128).contains("nested deeper than 127 levels"), "{}", message(128));
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let bed = Bed::new();
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(10 * 1024 * 1024));
    let answer = bed.put("/connectors/a/config", &body);
    assert_eq!(answer.status, 413, "{}", answer.head);
    assert!(answer.message().contains("longer than 10485760 bytes"));
}

#[test]
fn clients_of_every_habit_are_served() {
    let bed = Bed::new();
    let body = r#"{"name":"p","config":{"connector.class":"ToySource","topic":"t"},"initial_state":"paused"}"#;
    assert_eq!(bed.send("POST", "/connectors", &["Content-Type: application/json; charset=utf-8"], body).status, 201);
    bed.wait_for_states("p", &["PAUSED"]);
    assert_eq!(
        bed.send("PUT", "/connectors/p/resume", &["Content-Type: application/x-www-form-urlencoded"], "").status,
        202
    );
    let upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Accept: application/*;q=0.1"];
    assert_eq!(bed.send("GET", "/connectors", &upgrade, "").status, 200);
    let options = bed.send("OPTIONS", "/connectors/none/config", &[], "");
    assert!(options.head.contains("allow: head,get,options,put,patch"), "{}", options.head);
    let head = bed.send("HEAD", "/connectors", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-length: 5"), "{}", head.head);
    let name = "a/b %é?";
    let made =
        bed.post("/connectors", &json!({"name":name,"config":{"connector.class":"ToySource","topic":"t"}}).to_string());
    let location =
        made.head.lines().find_map(|line| line.strip_prefix("location: http://worker:1")).unwrap().to_owned();
    assert_eq!(bed.get(&location).json()["name"], name, "{location}");
}

#[test]
fn the_small_answers() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[]);
    let root = bed.get("/").json();
    assert_eq!((&root["version"], &root["kafka_cluster_id"]), (&json!("4.3.1"), &json!(null)));
    assert!(root["pipette_version"].is_string());
    assert_eq!(bed.get("/health").json()["status"], "healthy");
    let plugins = bed.get("/connector-plugins").json();
    assert_eq!(
        plugins[0],
        json!({"class":"org.apache.kafka.connect.file.FileStreamSinkConnector","type":"sink","version":"4.3.1"})
    );
    let all = bed.get("/connector-plugins?connectorsOnly=false").json();
    assert_eq!(all.as_array().unwrap().last().unwrap()["type"], "header_converter");
    let both = bed.get("/connectors?expand=status&expand=info").json();
    assert_eq!(both["a"]["info"]["config"]["topic"], "t");
    assert_eq!(both["a"]["status"]["name"], "a");
    assert_eq!(bed.get("/connectors?expand=zzz").body, r#"{"a":{}}"#);
}

#[test]
fn a_plugin_answers_questions_and_one_that_hangs_holds_nobody_up() {
    let bed = Bed::new();
    bed.create("a", "ToySource", &[]);
    assert_eq!(bed.get("/connectors/a/echo?q=x%20y").body, r#""x y""#);
    assert_eq!(bed.get("/connectors/a/nothing").status, 404);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| bed.get("/connectors/a/hang"));
        bed.assert_prompt();
        assert_eq!(slow.join().unwrap().message(), "The answer of a to hang did not finish within 700ms");
    });
}

#[test]
fn offsets_are_shown_for_sources_and_sinks() {
    let bed = Bed::new();
    bed.create("in", "FileStreamSource", &[]);
    bed.create("out", "FileStreamSink", &[("topics", "t")]);
    let offset = OffsetMap::from([("position".into(), Primitive::Int(30))]);
    bed.store.offsets.lock().unwrap().push(("in".into(), Partition::of("filename", "in.txt"), offset));
    let source = r#"{"offsets":[{"partition":{"filename":"in.txt"},"offset":{"position":30}}]}"#;
    assert_eq!(bed.get("/connectors/in/offsets").body, source);
    let partition = r#"{"kafka_partition":2,"kafka_topic":"connect-out"}"#;
    let sink = format!(r#"{{"offsets":[{{"partition":{partition},"offset":{{"kafka_offset":120}}}}]}}"#);
    assert_eq!(bed.get("/connectors/out/offsets").body, sink);
    assert_eq!(bed.get("/connectors/x/offsets").message(), "Connector x not found");
}

#[test]
fn a_task_is_given_what_its_connector_and_the_worker_say() {
    let bed = Bed::new();
    let chain = [
        ("transforms", "f"),
        ("transforms.f.type", "Filter"),
        ("transforms.f.predicate", "p"),
        ("predicates", "p"),
        ("predicates.p.type", "TopicNameMatches"),
        ("predicates.p.pattern", "x.*"),
        ("value.converter", "StringConverter"),
        ("value.converter.converter.encoding", "UTF-16"),
        ("errors.tolerance", "all"),
        ("topics.regex", "lab-.*"),
    ];
    bed.create("out", "FileStreamSink", &chain);
    bed.wait_for_states("out", &["RUNNING", "RUNNING"]);
    let spec = bed.tasks.last.lock().unwrap().take().unwrap();
    assert_eq!(spec.converters.value.0.info.class, "org.apache.kafka.connect.storage.StringConverter");
    assert_eq!(spec.converters.value.1.raw("converter.encoding"), Some("UTF-16"));
    assert_eq!(spec.converters.key.1.raw("converter.type"), Some("key"));
    assert_eq!(spec.transforms[0].predicate.as_ref().unwrap().settings.raw("pattern"), Some("x.*"));
    assert!(spec.errors.tolerate);
    assert!(format!("{:?}", spec.role).contains("Pattern(\"^(lab-.*)$\")"), "{:?}", spec.role);
}

#[test]
fn a_predicate_that_is_declared_nowhere_is_refused_before_a_task_fails_for_it() {
    let bed = Bed::new();
    let mut config = json!({"connector.class": "ToySource", "name": "a", "topic": "t", "transforms": "f",
        "transforms.f.type": "Filter", "transforms.f.predicate": "q"});
    let refused = bed.post("/connectors", &json!({"name": "a", "config": config}).to_string());
    let why = "transforms.f.predicate is \"q\", and there are no predicates; set predicates=q";
    assert!(refused.status == 400 && refused.message().contains(why), "{refused:?}");
    let validated = bed.put("/connector-plugins/ToySource/config/validate", &config.to_string()).json();
    let entry = validated["configs"].as_array().unwrap().iter();
    let mut wrong = entry.filter(|entry| entry["value"]["errors"] != json!([]));
    assert_eq!(wrong.next().unwrap()["value"]["name"], "transforms.f.predicate");
    assert_eq!((validated["error_count"].as_u64(), wrong.next()), (Some(1), None));
    config["predicates"] = "q".into();
    config["predicates.q.type"] = "TopicNameMatches".into();
    config["predicates.q.pattern"] = "x.*".into();
    assert_eq!(bed.put("/connectors/a/config", &config.to_string()).status, 201);
}

#[test]
fn loggers_can_have_a_door_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let at = format!("http://127.0.0.1:{port}");
    let mut worker = Worker::prepare(folder.path(), "127.0.0.1:1", &[("admin.listeners", &at)]);
    worker.start();
    let (main, admin) = (worker.rest(), Rest::new(port));
    assert_eq!(main.get("/admin/loggers/root").unwrap().status, 404);
    assert_eq!(admin.get("/connectors").unwrap().status, 404);
    assert_eq!(admin.get("/admin/loggers").unwrap().body, json!({"root": {"level": "INFO", "last_modified": null}}));
    let changed = admin.put("/admin/loggers/pipette::herder?scope=worker", &json!({"level": "trace"})).unwrap();
    assert_eq!((changed.status, changed.body), (200, json!(["pipette::herder"])));
    assert_eq!(admin.get("/admin/loggers/pipette::herder").unwrap().body["level"], "TRACE");
    let cluster = admin.put("/admin/loggers/root?scope=cluster", &json!({"level": "off"})).unwrap();
    assert_eq!(cluster.status, 204);
    assert!(worker.stop().success());
}
