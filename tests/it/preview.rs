//! The preview: what a chain makes of sample records, over REST and on the command line.

use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::embedded;
use crate::support::topic;

fn config_of_sink() -> Value {
    json!({
        "name": "preview",
        "connector.class": "FileStreamSink",
        "topics": "orders",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "transforms": "route,mask,large",
        "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.route.regex": "(.*)",
        "transforms.route.replacement": "lab.$1",
        "transforms.route.predicate": "keyed",
        "transforms.mask.type": "org.apache.kafka.connect.transforms.MaskField$Value",
        "transforms.mask.fields": "name",
        "transforms.large.type": "org.apache.kafka.connect.transforms.Filter",
        "transforms.large.predicate": "large",
        "predicates": "keyed,large",
        "predicates.keyed.type": "org.apache.kafka.connect.transforms.predicates.HasHeaderKey",
        "predicates.keyed.name": "site",
        "predicates.large.type": "FieldMatches",
        "predicates.large.field": "amount",
        "predicates.large.operator": ">",
        "predicates.large.value": "100",
    })
}

fn post(bed: &Bed, records: &Value) -> Value {
    let answer = bed.post("/transforms/preview", &json!({"config": config_of_sink(), "records": records}).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["records"].clone()
}

#[test]
fn each_record_is_shown_after_each_step() {
    let bed = Bed::shipped();
    let records = post(
        &bed,
        &json!([
            {"key": "k", "value": {"name": "Ann", "amount": 5}, "headers": [{"name": "site", "value": "bern"}]},
            {"value": {"name": "Bob", "amount": 500}},
            {"value": [1]},
            {"value": "{"},
        ]),
    );
    let steps = |record: usize| records[record]["steps"].as_array().unwrap();
    let outcomes =
        |record: usize| steps(record).iter().map(|step| step["outcome"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(records[0]["record"]["key"], json!({"schema": {"type": "string", "optional": true}, "payload": "k"}));
    assert_eq!(outcomes(0), ["applied", "applied", "skipped"]);
    assert_eq!(steps(0)[0]["record"]["topic"], "lab.orders");
    assert_eq!(steps(0)[1]["record"]["topic"], "lab.orders");
    assert_eq!(steps(0)[1]["record"]["value"]["payload"], json!({"name": "", "amount": 5}));
    assert_eq!(steps(0)[1]["class"], "org.apache.kafka.connect.transforms.MaskField$Value");
    assert!(steps(0)[1]["micros"].as_f64().unwrap() > 0.0);
    assert_eq!(outcomes(1), ["skipped", "applied", "dropped"]);
    assert_eq!(outcomes(2), ["skipped", "failed"]);
    let error = steps(2)[1]["error"].as_str().unwrap();
    assert!(error.contains("transformation \"mask\": Only Map objects supported"), "{error}");
    let error = records[3]["error"].as_str().unwrap();
    assert!(error.contains("JsonConverter") && steps(3).is_empty(), "{error}");
}

#[test]
fn steps_that_work_on_what_is_in_kafka_are_named_and_say_that_they_are_not_shown() {
    let bed = Bed::shipped();
    let steps = |config: Value| {
        let answer =
            bed.post("/transforms/preview", &json!({"config": config, "records": [{"value": "a"}]}).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        let steps = answer.json()["records"][0]["steps"].as_array().unwrap().clone();
        let part = |step: &Value, member: &str| step[member].as_str().unwrap_or_default().to_owned();
        let shown = |step: &Value| ["step", "outcome", "reason"].map(|member| part(step, member));
        steps.iter().map(shown).collect::<Vec<_>>()
    };
    let suffix = ("org.apache.kafka.connect.transforms.RegexRouter", "(.*)", "$1.x");
    let source = |last: &str| {
        json!({
            "name": "preview", "connector.class": "FileStreamSource", "topic": "t", "file": "/tmp/in",
            "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
            "transforms": "route,last", "transforms.route.type": suffix.0, "transforms.route.regex": suffix.1,
            "transforms.route.replacement": suffix.2, "transforms.last.type": last,
        })
    };
    for last in ["io.pipette.transforms.Chunk", "io.pipette.transforms.Split"] {
        let [route, last] = steps(source(last)).try_into().unwrap();
        assert_eq!((&*route[0], &*route[1], &*last[0], &*last[1]), ("route", "applied", "last", "unseen"));
        assert!(last[2].contains("makes several records of one behind the converters"), "{last:?}");
    }
    let sink = json!({
        "name": "preview", "connector.class": "FileStreamSink", "topics": "t",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "transforms": "first,route", "transforms.first.type": "io.pipette.transforms.Reassemble",
        "transforms.route.type": suffix.0, "transforms.route.regex": suffix.1, "transforms.route.replacement": suffix.2,
    });
    let [first, route] = steps(sink).try_into().unwrap();
    assert_eq!((&*first[0], &*first[1], &*route[0], &*route[1]), ("first", "unseen", "route", "applied"));
}

#[test]
fn what_cannot_be_previewed_is_refused_with_the_reason() {
    let bed = Bed::shipped();
    let refused = |body: &Value| {
        let answer = bed.post("/transforms/preview", &body.to_string());
        assert_eq!(answer.status, 400, "{answer:?}");
        answer.message()
    };
    let mut wrong = config_of_sink();
    wrong["transforms.mask.fields"] = json!("");
    let message = refused(&json!({"config": wrong, "records": []}));
    assert!(message.contains("transforms.mask.fields"), "{message}");
    assert!(refused(&json!({"config": config_of_sink()})).contains("either \"records\", a list, or \"live\""));
    assert!(refused(&json!({"config": config_of_sink(), "records": [{"vlaue": 1}]})).contains("unknown field `vlaue`"));
    assert!(refused(&json!({"config": config_of_sink(), "records": [7]})).contains("expected a record, such as {"));
    let source = json!({"connector.class": "FileStreamSource", "topic": "t"});
    assert!(refused(&json!({"config": source, "live": 3})).contains("for a source, send records"));
}

#[test]
fn a_source_hands_over_what_the_samples_say() {
    let bed = Bed::shipped();
    let schema =
        json!({"type": "struct", "optional": false, "fields": [{"type": "int32", "optional": false, "field": "a"}]});
    let config = json!({
        "connector.class": "FileStreamSource", "topic": "t", "transforms": "hoist,get",
        "transforms.hoist.type": "HoistField$Value", "transforms.hoist.field": "inner",
        "transforms.get.type": "ExtractField$Value", "transforms.get.field": "inner.a",
        "transforms.get.field.syntax.version": "V2",
    });
    let records = json!([{"topic": "t", "value": {"schema": schema, "payload": {"a": 7}}}]);
    let answer = bed.post("/transforms/preview", &json!({"config": config, "records": records}).to_string());
    let steps = answer.json()["records"][0]["steps"].clone();
    assert_eq!(steps[0]["record"]["value"]["payload"], json!({"inner": {"a": 7}}));
    assert_eq!(steps[1]["record"]["value"], json!({"schema": {"type": "int32", "optional": false}, "payload": 7}));
}

#[test]
fn a_step_that_waits_is_shown_in_its_place() {
    let bed = Bed::shipped();
    let config = json!({
        "connector.class": "FileStreamSource", "topic": "t", "transforms": "route,meta,image",
        "transforms.route.type": "RegexRouter", "transforms.route.regex": "(.*)", "transforms.route.replacement": "lab.$1",
        "transforms.meta.type": "ExtractMetadata",
        "transforms.image.type": "Filter", "transforms.image.predicate": "told",
        "predicates": "told", "predicates.told.type": "HasHeaderKey", "predicates.told.name": "meta",
    });
    let schema = json!({"type": "bytes", "optional": false});
    let records = json!([{"topic": "t", "value": {"schema": schema, "payload": "R0lGODlhkAEsAQ=="}}]);
    let answer = bed.post("/transforms/preview", &json!({"config": config, "records": records}).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let steps = answer.json()["records"][0]["steps"].clone();
    let outcomes = steps.as_array().unwrap().iter().map(|step| step["outcome"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(outcomes, ["applied", "applied", "dropped"], "{steps}");
    let header = steps[1]["record"]["headers"][0].clone();
    assert!(header["name"] == "meta" && header.to_string().contains("image/gif"), "{header}");
    assert_eq!(steps[1]["record"]["topic"], "lab.t", "what came before it stands");
}

/// The reference is shown as it would be, and nothing is where it leads.
#[test]
fn a_preview_puts_nothing_into_a_store() {
    let bed = Bed::shipped();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let config = json!({
        "connector.class": "FileStreamSource", "topic": "t", "transforms": "keep",
        "transforms.keep.type": "ClaimCheck", "transforms.keep.threshold.bytes": "10",
        "transforms.keep.store.uri": format!("file://{}", store.display()),
    });
    let records = json!([{"topic": "t", "value": "a large value"}, {"topic": "t", "value": "small"}]);
    let answer = bed.post("/transforms/preview", &json!({"config": config, "records": records}).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let records = answer.json()["records"].clone();
    let step = &records[0]["steps"][0];
    let uri = step["record"]["value"]["payload"]["uri"].as_str().unwrap();
    assert!(uri.starts_with(&format!("file://{}/t/", store.display())), "{step}");
    assert_eq!(step["rehearsed"], true);
    assert!(records[1]["steps"][0].get("rehearsed").is_none(), "nothing of it would be written");
    assert!(!store.exists());
}

#[test]
fn what_a_placeholder_stands_for_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secrets.properties");
    std::fs::write(&file, "site=the \"quiet\" room\n").unwrap();
    let bed = Bed::shipped_with(&[
        ("config.providers", "f"),
        ("config.providers.f.class", "FileConfigProvider"),
        ("config.providers.f.param.allowed.paths", folder.path().to_str().unwrap()),
    ]);
    let place = format!("${{f:{}:site}}", file.display());
    let mut config = json!({
        "name": "n", "connector.class": "FileStreamSink", "topics": "t",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
        "transforms": "stamp", "transforms.stamp.type": "org.apache.kafka.connect.transforms.InsertField$Value",
        "transforms.stamp.static.field": "site", "transforms.stamp.static.value": place,
    });
    let ask = |config: &Value| {
        bed.post("/transforms/preview", &json!({"config": config, "records": [{"value": {"a": 1}}]}).to_string())
    };
    let shown = ask(&config).json();
    assert_eq!(shown["records"][0]["steps"][0]["record"]["value"]["payload"], json!({"a": 1, "site": place}));
    config["transforms.stamp.static.field"] = json!("x");
    config["transforms.stamp.type"] = json!(place);
    let refused = ask(&config).message();
    assert!(!refused.contains("quiet") && refused.contains(&place), "{refused}");
}

#[test]
fn the_last_records_of_a_sinks_topics_are_looked_at_live() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    topic::create(&bootstrap, "orders", 1, &[]);
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("a producer");
    for amount in [1, 200, 30] {
        let value = json!({"name": "Ann", "amount": amount}).to_string();
        producer.send(BaseRecord::<str, str>::to("orders").payload(&value)).expect("room");
    }
    producer.flush(Duration::from_secs(20)).expect("the records in Kafka");
    let bed = Bed::shipped_with(&[("bootstrap.servers", &bootstrap)]);
    let answer = bed.post("/transforms/preview", &json!({"config": config_of_sink(), "live": 2}).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let records = answer.json()["records"].clone();
    let seen: Vec<(&Value, &Value)> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| (&record["record"]["offset"], &record["steps"].as_array().unwrap().last().unwrap()["outcome"]))
        .collect();
    assert_eq!(seen, [(&json!(1), &json!("dropped")), (&json!(2), &json!("skipped"))]);
    assert_eq!(records[1]["record"]["value"]["payload"], json!({"name": "Ann", "amount": 30}));
    // Nothing has joined a group or moved an offset: asked again, the answer is the same.
    let again = bed.post("/transforms/preview", &json!({"config": config_of_sink(), "live": 2}).to_string());
    assert_eq!(again.json()["records"][0]["record"]["offset"], 1);
}

#[test]
fn the_command_shows_what_each_step_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let connector = file("sink.json", &config_of_sink().to_string());
    let record = file(
        "order.json",
        r#"{"value": {"name": "Ann", "amount": 500}, "headers": [{"name": "site", "value": "bern"}]}"#,
    );
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pipette")).arg("preview").args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (done, text) = run(&[connector.as_os_str(), "--record".as_ref(), record.as_os_str()]);
    assert!(done, "{text}");
    let without_times: String = text
        .lines()
        .map(|line| match (line.split_once(", "), line.split_once(" µs)")) {
            (Some((before, _)), Some((_, after))) => format!("{before}){after}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let expected = "\
Record 1
    topic  orders
    partition  0
    offset  0
    header 0 site schema  string
    header 0 site  \"bern\" (string)
    key schema  string?
    key  null
    value.name  \"Ann\" (string)
    value.amount  500 (int64)
  route (RegexRouter)
  - topic  orders
  + topic  lab.orders
  mask (MaskField$Value)
  - value.name  \"Ann\" (string)
  + value.name  \"\" (string)
  large (Filter): dropped
";
    assert_eq!(without_times.trim_end(), expected.trim_end());
    let lines = file("in.txt", "{\"amount\":1}\n[]\n");
    let (done, text) = run(&[connector.as_os_str(), "--input".as_ref(), lines.as_os_str()]);
    assert!(done && text.contains("Record 2") && text.contains("! transformation \"mask\": Only Map"), "{text}");
    assert!(!run(&[connector.as_os_str()]).0, "records have to come from somewhere");
}
