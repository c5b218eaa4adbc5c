//! Rules between keys, and names of others for them.

use pipette_api::{ConfigDef, ConfigMap};

use super::*;

fn errors(definition: &'static ConfigDef, pairs: &[(&str, &str)]) -> String {
    let base = [("mqtt.server.uri", "mqtt://localhost"), ("mqtt.topics", "a/#")];
    let config: ConfigMap =
        base.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    definition.check(&config).into_iter().flat_map(|key| key.errors).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_does_not_go_together_is_named() {
    for (pairs, expected) in [
        (&[("mqtt.topics", "a/#,a/+/b")][..], "'a/#' and 'a/+/b' match the same topics"),
        (&[("mqtt.topics", "$share/g/a"), ("mqtt.shared.group", "h")], "cannot be given beside $share/"),
        (&[("mqtt.no.local", "true"), ("mqtt.shared.group", "h")], "not allowed with shared subscriptions"),
        (&[("mqtt.ssl.cert.path", "c.pem")], "mqtt.ssl.key.path: is needed beside mqtt.ssl.cert.path"),
        (&[("mqtt.ssl.ca.path", "ca.pem")], "is not encrypted although certificates are given"),
        (&[("mqtt.ssl.trust.store.path", "/a.jks")], "instead of mqtt.ssl.trust.store.path, which names a key store"),
        (&[("mqtt.password", "hunter2")], "mqtt.username: is needed beside mqtt.password"),
        (&[("mqtt.reconnect.backoff.ms", "99999")], "must not be shorter than mqtt.reconnect.backoff.ms"),
        (&[("mqtt.server.uri", "mqtt://a,mqtts://b")], "are not both encrypted"),
        (&[("kafka.topic", "a b")], "cannot be in the name of a Kafka topic"),
        (&[("kafka.key", "${key}")], "${key} is known of Kafka records only"),
        (&[("kafka.topic", "connect-configs")], "keeps its own state"),
        (&[("mqtt.topics", "a/b@3")], "asks for the quality of service 3, and there are 0, 1 and 2"),
        (&[("mqtt.server.uri", "mqtt://me:hunter2@broker")], "use mqtt.username and mqtt.password"),
    ] {
        let errors = errors(&crate::SOURCE_CONFIG, pairs);
        assert!(errors.contains(expected) && !errors.contains("hunter2"), "{pairs:?}: {errors}");
    }
    for pairs in [
        &[("mqtt.topics", "a/#,a/+/b"), ("mqtt.topics.allow.overlap", "true")][..],
        &[("mqtt.password", "token"), ("mqtt.protocol.version", "5")],
        &[("mqtt.clean.session.enabled", "true"), ("mqtt.username", ""), ("mqtt.password", "")],
    ] {
        assert_eq!(errors(&crate::SOURCE_CONFIG, pairs), "", "{pairs:?}");
    }
    assert!(errors(&crate::SINK_CONFIG, &[("mqtt.topic", "a/+")]).contains("contains a wildcard"));
    let sparkplug = |pairs: &[(&str, &str)]| {
        errors(&crate::SOURCE_CONFIG, &[&[("mqtt.value.format", "sparkplug_b")], pairs].concat())
    };
    let parted = ("mqtt.topics", "spBv1.0/+/NBIRTH/+,spBv1.0/+/NDATA/+");
    assert!(sparkplug(&[("mqtt.shared.group", "g")]).contains("must reach the same task"));
    assert!(sparkplug(&[parted, ("tasks.max", "2")]).contains("leaves others to another task"));
    for pairs in [
        &[parted, ("tasks.max", "1")][..],
        &[parted, ("tasks.max", "2"), ("mqtt.sparkplug.mode", "raw")],
        &[("mqtt.topics", "spBv1.0/a/#,spBv1.0/b/#"), ("tasks.max", "2")],
    ] {
        assert_eq!(sparkplug(pairs), "", "{pairs:?}");
    }
}

#[test]
fn a_number_out_of_range_is_told_with_key_and_range() {
    for key in ["mqtt.keepalive.interval.seconds", "mqtt.receive.maximum"] {
        for value in ["0", "-1", "65536", "70000"] {
            let told = format!("Invalid value {value} for configuration {key}: Value must be between 1 and 65535");
            assert_eq!(errors(&crate::SOURCE_CONFIG, &[(key, value)]), told);
        }
    }
}

#[test]
fn the_other_name_of_a_clean_start_gives_way() {
    let clean = |pairs: &[(&str, &str)]| {
        let config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let base = [("mqtt.server.uri", "mqtt://localhost"), ("mqtt.topics", "a")];
        let base = base.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config: ConfigMap = config.chain(base).collect();
        SourceSettings::read(&Settings::new(config, &crate::SOURCE_CONFIG)).unwrap().clean
    };
    assert!(!clean(&[]) && clean(&[("mqtt.clean.session.enabled", "true")]));
    assert!(!clean(&[("mqtt.clean.session.enabled", "true"), ("mqtt.clean.start", "false")]));
}
