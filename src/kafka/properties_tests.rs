//! Java's client keys become librdkafka's.

use super::*;
use crate::settings::clients;

fn map(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn later_layers_win_and_names_are_translated() {
    let worker = map(&[
        ("bootstrap.servers", "a:1,b:2"),
        ("producer.linger.ms", "7"),
        ("producer.buffer.memory", "1048576"),
        ("producer.max.request.size", "2000000"),
        ("producer.interceptor.classes", "x.Y"),
        ("consumer.max.poll.records", "10"),
    ]);
    let connector = map(&[
        ("producer.override.linger.ms", "9"),
        ("producer.override.delivery.timeout.ms", "2147483647"),
        ("consumer.override.auto.offset.reset", "latest"),
        (
            "consumer.override.partition.assignment.strategy",
            "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        ),
    ]);
    let producer = producer(&worker, &connector, "connector-producer-c-0").unwrap();
    for (key, value) in [
        ("bootstrap.servers", "a:1,b:2"),
        ("linger.ms", "9"),
        ("queue.buffering.max.kbytes", "1024"),
        ("message.max.bytes", "2000000"),
        ("delivery.timeout.ms", "0"),
        ("partitioner", "murmur2_random"),
        ("client.id", "connector-producer-c-0"),
    ] {
        assert_eq!(producer[key], value, "{key}");
    }
    assert!(!producer.contains_key("interceptor.classes"));
    let consumer = consumer(&worker, &connector, "id", "connect-c").unwrap();
    assert_eq!(consumer["auto.offset.reset"], "latest");
    assert_eq!(consumer["partition.assignment.strategy"], "cooperative-sticky");
    assert_eq!(consumer["enable.auto.commit"], "false");
    assert_eq!(consumer["isolation.level"], "read_uncommitted");
}

#[test]
fn a_transactional_producer_is_what_it_must_be_whatever_the_connector_says() {
    let connector = map(&[
        ("producer.override.enable.idempotence", "false"),
        ("producer.override.acks", "1"),
        ("producer.override.delivery.timeout.ms", "2147483647"),
    ]);
    let properties = transactional(&map(&[]), &connector, "p", "g-c-0", Duration::from_secs(10)).unwrap();
    for (key, value) in [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("transactional.id", "g-c-0"),
        ("transaction.timeout.ms", "70000"),
    ] {
        assert_eq!(properties[key], value, "{key}");
    }
    assert!(!properties.contains_key("delivery.timeout.ms"));
}

#[test]
fn what_could_run_code_is_refused_by_name() {
    let error =
        producer(&map(&[]), &map(&[("producer.override.plugin.library.paths", "/tmp/x.so")]), "id").unwrap_err();
    assert!(error.to_string().contains("producer.override.plugin.library.paths"), "{error}");
}

#[test]
fn a_key_that_protects_is_never_ignored() {
    let worker = map(&[("producer.security.protocol", "SSL"), ("producer.ssl.truststore.location", "/no/such/store")]);
    let error = producer(&worker, &map(&[]), "id").unwrap_err().to_string();
    assert!(error.contains("configuration producer.ssl.truststore.location: /no/such/store"), "{error}");
    // A connector that goes its own way does without.
    let own = map(&[("producer.override.security.protocol", "PLAINTEXT")]);
    producer(&worker, &own, "id").unwrap();
    consumer(&worker, &map(&[]), "id", "g").unwrap();
}

#[test]
fn the_workers_own_clients_take_the_keys_without_a_prefix() {
    let worker = map(&[
        ("security.protocol", "SSL"),
        ("ssl.endpoint.identification.algorithm", ""),
        ("admin.ssl.endpoint.identification.algorithm", "https"),
    ]);
    let checks = |properties: ClientProperties| properties["ssl.endpoint.identification.algorithm"].clone();
    assert_eq!((checks(own(&worker, "o").unwrap()), checks(admin(&worker).unwrap())), ("none".into(), "https".into()));
    assert!(!producer(&worker, &map(&[]), "p").unwrap().contains_key("security.protocol"));
}

#[test]
fn every_setting_of_javas_clients_is_one_that_is_honoured_or_told_to_be_without_effect() {
    for (client, name) in clients::KINDS.iter().flat_map(|client| clients::names(client).map(move |n| (client, n))) {
        let mapped = KEYS.binary_search_by(|(known, _)| known.cmp(&name)).is_ok();
        let silent = clients::without_effect(name);
        assert!(Security::is_for(name) || mapped != silent.is_some(), "{client} {name} {silent:?}");
    }
    for own in OWN_CLIENTS {
        assert!(KEYS.iter().any(|(known, _)| *known == own.name), "{} reaches no client", own.name);
    }
}

#[test]
fn numbers_of_java_that_librdkafka_has_no_room_for_are_the_nearest() {
    let worker = map(&[
        ("send.buffer.bytes", "-1"),
        ("connections.max.idle.ms", "-1"),
        ("retry.backoff.ms", "0"),
        ("socket.connection.setup.timeout.ms", "10"),
        ("metadata.max.age.ms", "9000000000"),
        ("metadata.recovery.strategy", "NONE"),
    ]);
    let properties = own(&worker, "o").unwrap();
    let shown = |key: &str| properties[key].as_str();
    assert_eq!((shown("socket.send.buffer.bytes"), shown("connections.max.idle.ms")), ("0", "0"));
    assert_eq!((shown("retry.backoff.ms"), shown("socket.connection.setup.timeout.ms")), ("1", "1000"));
    let mut config = rdkafka::ClientConfig::new();
    config.extend(properties);
    config.create_native_config().unwrap();
}

#[test]
fn a_pattern_leaves_the_topics_of_kafka_itself_out() {
    let of = |pairs: &[(&str, &str)]| {
        let properties = consumer(&map(&[]), &map(pairs), "c", "g").unwrap();
        assert!(!properties.contains_key(INTERNAL));
        properties.contains_key("topic.blacklist")
    };
    let pattern = ("topics.regex", ".*");
    assert!(of(&[pattern]) && !of(&[("topics", "__consumer_offsets")]));
    assert!(!of(&[pattern, ("consumer.override.exclude.internal.topics", "False")]));
}

#[test]
fn the_table_is_sorted_for_its_search() {
    assert!(KEYS.is_sorted_by_key(|(name, _)| *name));
}

#[test]
fn every_client_looks_for_its_broker_again_within_javas_second() {
    let clients = |worker: &ConfigMap| {
        [
            producer(worker, &map(&[]), "p").unwrap(),
            transactional(worker, &map(&[]), "p", "g-c-0", Duration::from_secs(1)).unwrap(),
            dead_letters(worker, &map(&[]), "p").unwrap(),
            consumer(worker, &map(&[]), "c", "g").unwrap(),
            admin(worker).unwrap(),
            own(worker, "o").unwrap(),
        ]
        .map(|properties| properties["reconnect.backoff.max.ms"].clone())
    };
    assert_eq!(clients(&map(&[])), ["1000"; 6]);
    let keys = ["", "producer.", "consumer.", "admin."].map(|prefix| format!("{prefix}reconnect.backoff.max.ms"));
    let told: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "7000")).collect();
    assert_eq!(clients(&map(&told)), ["7000"; 6]);
}

#[test]
fn librdkafka_takes_every_default() {
    for properties in [
        producer(&map(&[]), &map(&[]), "p").unwrap(),
        consumer(&map(&[]), &map(&[]), "c", "g").unwrap(),
        admin(&map(&[])).unwrap(),
        transactional(&map(&[]), &map(&[]), "p", "g-c-0", Duration::from_hours(1)).unwrap(),
    ] {
        let mut config = rdkafka::ClientConfig::new();
        config.extend(properties);
        config.create_native_config().unwrap();
    }
}

#[test]
fn addresses_that_no_client_can_reach_are_refused_by_their_key() {
    let error = own(&map(&[("bootstrap.servers", "a:9092,localhost:99999")]), "o").unwrap_err().to_string();
    assert!(error.contains("configuration bootstrap.servers: \"localhost:99999\" has no port"), "{error}");
    let key = "consumer.override.bootstrap.servers";
    let refused = |text| consumer(&map(&[("bootstrap.servers", "a:9092")]), &map(&[(key, text)]), "c", "g");
    let error = refused("nonsense").unwrap_err().to_string();
    assert!(error.contains(&format!("configuration {key}: \"nonsense\" is not host:port")), "{error}");
    assert_eq!(refused("SSL://b:9093").unwrap()["bootstrap.servers"], "b:9093");
}
