//! The laws of transformations, for those that wait: the kit waits for each call, as for one record alone. Golden cases:
//! `cases/*.json`.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use pipette_api::{Info, Plugin};
use pipette_kit::config_laws;
use pipette_kit::transform_laws::{self, Cases};
use transform_claim_check::PLUGINS;

fn info(name: &str) -> &'static Info {
    PLUGINS.iter().map(Plugin::info).find(|info| info.answers_to(name)).unwrap()
}

fn cases() -> Cases {
    // Behind them stands what `pieces.rs` is about.
    let waiting = PLUGINS.iter().take_while(|plugin| matches!(plugin, Plugin::AsyncTransform(_))).count();
    Cases::read(&PLUGINS[..waiting], concat!(env!("CARGO_MANIFEST_DIR"), "/cases"))
}

#[test]
fn t1_configuration() {
    config_laws::hold(info("ExtractMetadata"), &[]);
    for name in ["ClaimCheck", "ClaimCheckRestore"] {
        config_laws::hold(info(name), &[("store.uri", "s3://lake/inbox")]);
    }
}

#[test]
fn t2_golden_cases() {
    transform_laws::t2_golden_cases(&cases());
}

#[test]
fn t3_error_leaves_the_record_unchanged() {
    transform_laws::t3_error_leaves_the_record_unchanged(&cases());
}

#[test]
fn t4_odd_records_are_answered() {
    transform_laws::t4_odd_records_are_answered(&cases());
}

#[test]
fn t5_schemaless_agrees() {
    transform_laws::t5_schemaless_agrees(&cases());
}

#[test]
fn t6_same_schema_in_same_schema_out() {
    transform_laws::t6_same_schema_in_same_schema_out(&cases());
}

#[test]
fn t8_a_cancelled_apply_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let case = serde_json::json!([{
        "name": "an upload", "plugin": "ClaimCheck", "output": {},
        "config": {"store.uri": format!("file://{}", store.display()), "threshold.bytes": 1},
        "input": {"value": {"schema": "bytes", "value": "ab".repeat(300_000)}},
    }]);
    transform_laws::t8_a_cancelled_apply_leaves_nothing(&Cases::parse(PLUGINS, &case.to_string()), |_| {
        let drafts = std::fs::read_dir(store.join(".uploads")).into_iter().flatten();
        drafts.map(|draft| draft.unwrap().path().display().to_string()).collect()
    });
}

/// Each error of a configuration.
fn errors(name: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let config = pipette_kit::build::config(pairs);
    info(name).config.check(&config).into_iter().flat_map(|key| key.errors).collect()
}

#[test]
fn a_list_of_tags_is_refused_where_it_is_written() {
    let checked = |levels: &str, tags: &str| errors("ExtractMetadata", &[("extract", levels), ("tags", tags)]);
    assert_eq!(checked("basic,dicom", "dicom.BodyPartExamined"), [""; 0]);
    assert!(checked("basic", "dicom.Modality")[0].contains("configuration tags: dicom.Modality: needs dicom"));
    assert!(checked("basic,video", "")[0].contains("configuration extract: video is none of basic"));
}

/// Of ClaimCheck with a bucket.
fn check(pairs: &[(&str, &str)]) -> Vec<String> {
    errors("ClaimCheck", &[&[("store.uri", "s3://lake/inbox")], pairs].concat())
}

#[test]
fn what_cannot_be_honoured_is_refused_at_its_key_with_a_reason() {
    for (key, value, why) in [
        ("target", "key", "needs allow.key=true"),
        ("target", "both", "must be one of: value, field, key"),
        ("target", "field", "target=field needs fields"),
        ("fields", "image", "other targets have none"),
        ("store.mode", "copy", "allowed.uri.prefixes: store.mode=reference and copy need it"),
        ("store.mode", "move", "must be one of: upload, reference, copy"),
        ("allowed.uri.prefixes", "s3://lake/raw", "upload has none"),
        ("allowed.uri.prefixes", "*", "holds a wildcard"),
        ("key.strategy", "offset", "must be one of: content, position, uuid, template"),
        ("key.strategy", "template", "key.strategy=template needs it"),
        ("key.template", "${uuid}", "only key.strategy=template has one"),
        ("key.prefix", "../x", "dot segments"),
        ("digest", "none", "named by their SHA-256"),
        ("digest", "md5", "must be one of: sha256, none"),
        ("presign.ttl.ms", "999", "at least 1000"),
        ("presign.ttl.ms", "604800001", "no more than 604800000"),
        ("thumbnail.max.px", "64", "are not built yet"),
        ("preflight", "hard", "off"),
        ("object.retention.ms", "0", "object.retention.ms"),
        ("part.size.bytes", "1048576", "at least 5242880"),
        ("max.in.flight.bytes", "1048576", "less than part.size.bytes times upload.concurrency"),
        ("max.payload.bytes", "100", "not above threshold.bytes"),
        ("value.mode", "inline", "must be one of: reference, header-only"),
        ("cloudevents.type", "t", "belong together"),
        ("metadata.extract", "basic,video", "video is none of basic"),
        ("retry.timeout.ms", "-2", "at least -1"),
        ("store.uri", "s3://user@lake/inbox", "it has user information"),
    ] {
        let told = check(&[(key, value)]);
        assert!(told.len() == 1 && told[0].contains(why), "{key}={value}: {told:?}");
    }
}

#[test]
fn keys_that_do_not_go_together_are_refused_at_the_one_to_mend() {
    let key = |more| check(&[("target", "key"), ("allow.key", "true"), more]);
    assert_eq!(key(("preflight", "off")), [""; 0]);
    assert!(key(("fields", "a"))[0].contains("other targets have none"));
    assert!(key(("reference.format", "sqs"))[0].contains("another target is native"));
    let field = |more: &[(&str, &str)]| check(&[&[("target", "field")], more].concat());
    assert_eq!(field(&[("fields", "after.image, note")]), [""; 0]);
    for (more, why) in [
        (&[("fields", "after, after.image")][..], "one is inside of another"),
        (&[("fields", "a.*")], "wildcards"),
        (&[("fields", "a"), ("reference.format", "sqs")], "another target is native"),
        (&[("fields", "a"), ("value.mode", "header-only")], "is for target=value"),
        (&[("fields", "a"), ("field.mode", "uri"), ("header.name", "")], "nowhere else"),
        (&[("fields", "a"), ("emit.cloudevents", "true")], "needs target=value"),
    ] {
        let told = field(more);
        assert!(told.len() == 1 && told[0].contains(why), "{more:?}: {told:?}");
    }
    let none = |more: (&str, &str)| check(&[("digest", "none"), ("key.strategy", "uuid"), more]);
    assert_eq!(none(("preflight", "off")), [""; 0]);
    assert!(none(("reference.format", "kaf-s3"))[0].contains("kaf-s3 need it"));
    let signed = |more: &[(&str, &str)]| errors("ClaimCheck", &[&[("presign.ttl.ms", "60000")], more].concat());
    assert_eq!(signed(&[("store.uri", "s3://lake/inbox")]), [""; 0]);
    assert!(signed(&[("store.uri", "file:///lake")])[0].contains("only S3, GCS and Azure sign addresses"));
    let folder =
        [("store.mode", "reference"), ("digest", "none"), ("allowed.uri.prefixes", "s3://lake/a, file:///lake")];
    assert!(signed(&[&[("store.uri", "s3://lake")], &folder[..]].concat())[0].contains("sign addresses"));
    let key = [("store.uri", "s3://lake"), ("target", "key"), ("allow.key", "true")];
    assert!(signed(&key)[0].contains("a key would be another one"));
    let mode = |mode, more: &[(&str, &str)]| {
        check(&[&[("store.mode", mode), ("allowed.uri.prefixes", "s3://lake/raw")], more].concat())
    };
    assert_eq!(mode("copy", &[]), [""; 0]);
    assert_eq!(mode("reference", &[("digest", "none")]), [""; 0]);
    assert!(mode("reference", &[])[0].contains("set digest=none"));
    assert!(mode("reference", &[("digest", "none"), ("compression", "gzip")])[0].contains("stores nothing"));
    assert!(mode("copy", &[("on.store.failure", "inline")])[0].contains("only the store has the payload"));
    let template = |text: &str| check(&[("key.strategy", "template"), ("key.template", text)]);
    assert_eq!(template("${topic}/${name}-${sha256}"), [""; 0]);
    assert!(template("${name}")[0].contains("objects would overwrite each other"));
    let told = template("${file}").remove(0);
    assert!(told.contains("${field}, ${name}, and one of ${sha256}, ${uuid}, ${position} at least"), "{told}");
    assert_eq!(template("${topic}/${field}-${position}"), [""; 0]);
}

#[test]
fn a_restore_refuses_what_would_open_a_door() {
    let check =
        |pairs: &[(&str, &str)]| errors("ClaimCheckRestore", &[&[("store.uri", "s3://lake/inbox")], pairs].concat());
    for (key, value, why) in [
        ("allowed.uri.prefixes", "*", "holds a wildcard"),
        ("allowed.uri.prefixes", "s3://lake/a, /etc", "no prefix of addresses"),
        ("allowed.uri.prefixes", "https://10.0.0.1/", "addresses of the web"),
        ("http.enable", "true", "it needs an https:// prefix"),
        ("allowed.uri.prefixes", "http://10.0.0.1/", "by https only"),
        ("on.missing", "null", "needs allow.null=true"),
        ("reference.formats", "native,bakdata-flag", "no other form can stand in values"),
        ("reference.formats", "native,claims", "claims is none of native"),
        ("reference.formats", "", "nothing would be looked for"),
        ("cache.disk.bytes", "1", "cache.disk.bytes needs a folder"),
        ("cache.dir", "/tmp", "it must be more than 0 where there is a cache.dir"),
        ("mode", "now", "must be one of: lazy, eager"),
        ("max.payload.bytes", "0", "at least 1"),
    ] {
        let told = check(&[(key, value)]);
        assert!(told.len() == 1 && told[0].contains(why), "{key}={value}: {told:?}");
    }
    assert_eq!(check(&[("on.missing", "null"), ("allow.null", "true")]), [""; 0]);
    assert_eq!(check(&[("http.enable", "true"), ("allowed.uri.prefixes", "https://media.example/a")]), [""; 0]);
    let formats = |formats: &str, integrity: &str| check(&[("reference.formats", formats), ("integrity", integrity)]);
    assert!(formats("sqs", "require")[0].contains("configuration integrity: every reference of the form sqs"));
    assert!(formats("kaf-s3,cloudevents", "require")[0].contains("every reference of the form cloudevents"));
    for (names, integrity) in
        [("native,sqs", "require"), ("kaf-s3", "require"), ("bakdata-flag,cloudevents", "if-present"), ("sqs", "off")]
    {
        assert_eq!(formats(names, integrity), [""; 0], "{names}");
    }
}

#[test]
fn options_that_the_store_does_not_take_are_refused_wherever_there_is_one() {
    let typo = ("store.options.aws_regon", "eu-central-1");
    let plain = ("store.options.aws_endpoint", "http://127.0.0.1:9000");
    for (name, more) in
        [("ClaimCheck", &[][..]), ("ClaimCheckRestore", &[]), ("Reassemble", &[("assemble.to", "store")])]
    {
        let check = |pair| errors(name, &[&[("store.uri", "s3://lake/inbox"), pair], more].concat());
        assert!(check(typo)[0].contains("store.options.aws_regon is no option"), "{name}: {:?}", check(typo));
        assert!(check(plain)[0].contains("set store.allow.http=true"), "{name}: {:?}", check(plain));
        assert_eq!(check(("store.options.aws_region", "eu-central-1")), [""; 0], "{name}");
    }
}
