//! Configurations of Lenses, as their pages and their users write them.

use super::*;

fn theirs(pairs: &[(&str, &str)]) -> ConfigMap {
    let base = [("connect.mqtt.hosts", "tcp://mqtt:1883"), ("connect.mqtt.service.quality", "2")];
    base.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn source_errors(pairs: &[(&str, &str)]) -> String {
    keys::SOURCE_CONFIG.check(&theirs(pairs)).into_iter().flat_map(|key| key.errors).collect::<Vec<_>>().join("\n")
}

fn sink_errors(pairs: &[(&str, &str)]) -> String {
    keys::SINK_CONFIG.check(&theirs(pairs)).into_iter().flat_map(|key| key.errors).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_source_of_theirs_is_one_of_ours() {
    let config = theirs(&[
        (
            "connect.mqtt.kcql",
            "INSERT INTO lab SELECT * FROM /lab/+/temp WITHCONVERTER=\
             `io.lenses.streamreactor.connect.converters.source.JsonSimpleConverter`; INSERT INTO `$` SELECT * FROM \
             `/hall/#` WITHCONVERTER=`io.lenses.streamreactor.connect.converters.source.JsonSimpleConverter`",
        ),
        ("connect.mqtt.client.id", "reader"),
        ("connect.mqtt.clean", "false"),
        ("connect.mqtt.timeout", "1500"),
        ("connect.mqtt.keep.alive", "5000"),
        ("connect.mqtt.converter.throw.on.error", "true"),
        ("connect.mqtt.polling.timeout", "500"),
    ]);
    assert_eq!(keys::SOURCE_CONFIG.check(&config).into_iter().flat_map(|key| key.errors).collect::<Vec<_>>(), [""; 0]);
    let ours = ours(&Settings::new(config, &keys::SOURCE_CONFIG)).unwrap();
    let read = SourceSettings::read(&ours).unwrap();
    let filters: Vec<String> = read.subscriptions.iter().map(crate::filter::Subscription::text).collect();
    assert_eq!(filters, ["/lab/+/temp@2", "/hall/#@2"]);
    assert_eq!((read.format, read.clean), (crate::settings::Format::Json, false));
    assert_eq!((read.broker.timeout.as_secs(), read.broker.keep_alive_seconds), (2, 5));
    assert_eq!(read.broker.client_id.as_deref(), Some("reader"));
    let topic = |topic: &'static str| {
        let parts = crate::template::TopicParts { topic, connector: "c" };
        let (_, template) = read.mapping.iter().find(|(filter, _)| crate::filter::matches(filter, topic)).unwrap();
        crate::template::kafka_topic(&template.fill(&parts).unwrap()).unwrap()
    };
    assert_eq!((topic("/lab/a/temp").as_str(), topic("/hall/a/b").as_str()), ("lab", "hall_a_b"));
}

#[test]
fn what_the_plan_gives_a_task_goes_before_the_statements() {
    let config = theirs(&[
        ("connect.mqtt.kcql", "INSERT INTO lab SELECT * FROM a; INSERT INTO lab SELECT * FROM b"),
        ("mqtt.topics", "b@2"),
        ("mqtt.client.id", "plant-1"),
    ]);
    let read = SourceSettings::read(&ours(&Settings::new(config, &keys::SOURCE_CONFIG)).unwrap()).unwrap();
    assert_eq!((read.subscriptions.len(), read.broker.client_id.as_deref()), (1, Some("plant-1")));
}

#[test]
fn a_sink_of_theirs_is_one_of_ours() {
    for (kcql, template) in [
        ("INSERT INTO /lenses/orders SELECT * FROM orders", "/lenses/orders"),
        ("INSERT INTO _key SELECT * FROM orders", "${key}"),
        ("INSERT INTO `_topic` SELECT * FROM orders", "${topic}"),
        ("INSERT INTO `$field` SELECT * FROM orders WITHTARGET = to.where", "${field:to.where}"),
    ] {
        let pairs = [
            ("connect.mqtt.kcql", kcql),
            ("topics", "orders"),
            ("connect.mqtt.retained.messages", "true"),
            ("connect.mqtt.error.policy", "throw"),
            ("connect.mqtt.clean", "true"),
        ];
        assert_eq!(sink_errors(&pairs), "", "{kcql}");
        let ours = ours_of_sink(&Settings::new(theirs(&pairs), &keys::SINK_CONFIG)).unwrap();
        assert_eq!(ours.raw("mqtt.topic"), Some(template));
        assert!(SinkSettings::read(&ours).unwrap().retain);
    }
}

#[test]
fn what_means_something_else_is_refused_under_their_key() {
    let insert = ("connect.mqtt.kcql", "INSERT INTO a SELECT * FROM b");
    for (pairs, reason) in [
        (&[][..], "\"connect.mqtt.kcql\" which has no default value"),
        (&[("connect.mqtt.kcql", "INSERT INTO a SELECT x FROM b")], "selects something else than *"),
        (&[("connect.mqtt.kcql", "INSERT INTO a SELECT * FROM b/#/c")], "connect.mqtt.kcql: Invalid value b/#/c"),
        (&[("connect.mqtt.kcql", "INSERT INTO a SELECT * FROM b WITHCONVERTER=`x.AvroConverter`")], "x.AvroConverter"),
        (&[("connect.mqtt.kcql", "INSERT INTO a$ SELECT * FROM b")], "a $ stands alone"),
        (&[insert, ("connect.mqtt.hosts", "http://a")], "configuration connect.mqtt.hosts: Invalid value http://a"),
        (&[insert, ("connect.mqtt.password", "hunter2")], "mqtt.username: is needed beside mqtt.password"),
        (&[insert, ("connect.mqtt.converter.throw.on.error", "false")], "loses messages: use errors.tolerance=all"),
        (&[insert, ("connect.mqtt.process.duplicates", "false")], "may be the only one"),
    ] {
        let errors = source_errors(pairs);
        assert!(errors.contains(reason) && !errors.contains("hunter2"), "{pairs:?}: {errors}");
    }
    for (pairs, reason) in [
        (
            &[("connect.mqtt.kcql", "INSERT INTO x SELECT * FROM a; INSERT INTO y SELECT * FROM b")][..],
            "several targets",
        ),
        (&[insert, ("topics", "c, d")], "selects from b, which is not in the topics"),
        (&[insert, ("connect.mqtt.error.policy", "NOOP")], "loses records"),
        (&[("connect.mqtt.kcql", "INSERT INTO x/+ SELECT * FROM a")], "contains a wildcard"),
    ] {
        let errors = sink_errors(pairs);
        assert!(errors.contains(reason), "{pairs:?}: {errors}");
    }
}
