//! What becomes of a source when its broker restarts, is cut off, goes silent, or says no: each ends in its state, with a
//! reason that can be read.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

mod support;

use std::fs;
use std::time::Instant;

use connector_mqtt::{SINK, SOURCE};
use pipette_api::{ErrorKind, TopicPartition};
use pipette_kit::source_harness::record;
use pipette_kit::{SinkHarness, SourceHarness, build};
use support::mosquitto::Mosquitto;
use support::proxy::Proxy;
use support::source::{TOLD, failure, number, poll_until, source, subscribed};
use support::{config, source_config, texts};

#[test]
fn a_restart_of_the_broker_loses_nothing() {
    for (version, qos) in [("5", 1), ("3.1.1", 1), ("5", 2), ("3.1.1", 2)] {
        let mut broker = Mosquitto::start();
        let qos_text = qos.to_string();
        let mut harness =
            source(source_config(&broker, &[("mqtt.protocol.version", version), ("mqtt.qos", &qos_text)]));
        let mut seen = Vec::new();
        poll_until(&mut harness, &mut seen, subscribed);
        let mut written = Vec::new();
        for round in 0..4 {
            let some = texts(&format!("r{round}"), 50);
            broker.publish("lab/a", qos, &some);
            written.extend(some);
            let enough = written.len() - 20;
            poll_until(&mut harness, &mut seen, |_, seen| seen.len() >= enough);
            broker.stop();
            broker.run();
        }
        poll_until(&mut harness, &mut seen, |_, seen| written.iter().all(|text| seen.contains(text)));
        assert_eq!(number(&harness, "mqtt_source_sessions_lost_total"), 0, "{version} {qos}");
        harness.stop().unwrap();
    }
}

#[test]
fn what_kafka_has_is_not_handed_over_again_after_a_cut() {
    let broker = Mosquitto::start();
    let proxy = Proxy::to(broker.port);
    let mut harness = source(source_config(&broker, &[("mqtt.server.uri", &proxy.uri())]));
    let mut seen = Vec::new();
    poll_until(&mut harness, &mut seen, subscribed);
    let written = texts("c", 15);
    broker.publish("lab/a", 1, &written);
    // Handed over, on their way to Kafka, and the line is cut before anything is acknowledged.
    assert_eq!(harness.records(written.len()).unwrap().len(), written.len());
    proxy.cut();
    let error = harness.poll_until(|_| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{}", error.chain());
    let known = |harness: &SourceHarness| number(harness, "mqtt_source_known_total");
    while known(&harness) < 15 {
        let entries = harness.poll().unwrap_or_default();
        assert_eq!(entries.iter().filter_map(record).count(), 0, "nothing twice");
    }
    assert_eq!(number(&harness, "mqtt_source_duplicates_total"), 15);
    assert_eq!(number(&harness, "mqtt_source_subscriptions"), 1);
    harness.settle();
    let more = texts("d", 5);
    broker.publish("lab/a", 1, &more);
    poll_until(&mut harness, &mut seen, |harness, seen| {
        seen.len() == 5 && number(harness, "mqtt_source_acknowledged_total") == 20
    });
    assert_eq!(number(&harness, "mqtt_source_held_messages"), 0);
    assert_eq!(number(&harness, "mqtt_source_held_bytes"), 0);
    harness.stop().unwrap();
}

#[test]
fn a_connection_that_went_silent_is_noticed() {
    let broker = Mosquitto::start();
    let proxy = Proxy::to(broker.port);
    let uri = proxy.uri();
    let silent = [("mqtt.server.uri", uri.as_str()), ("mqtt.keepalive.interval.seconds", "2")];
    let mut harness = source(source_config(&broker, &silent));
    let mut seen = Vec::new();
    poll_until(&mut harness, &mut seen, subscribed);
    proxy.jam(true);
    let begun = Instant::now();
    let error = harness.poll_until(|_| begun.elapsed() > TOLD).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable);
    assert!(error.chain().contains("answer"), "{}", error.chain());
    proxy.jam(false);
    proxy.cut();
    broker.publish("lab/a", 1, &texts("s", 3));
    poll_until(&mut harness, &mut seen, |_, seen| seen.len() == 3);
    harness.stop().unwrap();
}

#[test]
fn another_client_with_the_same_id_is_named() {
    for version in ["5", "3.1.1"] {
        let broker = Mosquitto::start();
        let config = source_config(&broker, &[("mqtt.protocol.version", version), ("mqtt.client.id", "reader")]);
        let mut rival = source(config.clone());
        let mut harness = source(config);
        let begun = Instant::now();
        let error = loop {
            assert!(begun.elapsed() < TOLD, "no failure within {TOLD:?}");
            let _ = rival.poll();
            match harness.poll() {
                Err(error) if error.kind() != ErrorKind::Retriable => break error,
                _ => {}
            }
        };
        assert!(error.chain().contains("another client uses the client id reader"), "{}", error.chain());
        assert_eq!(error.kind(), ErrorKind::Config);
        let _ = (harness.stop(), rival.stop());
    }
}

#[test]
fn bad_credentials_fail_at_once_and_show_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c", passwords.to_str().unwrap(), "reader", "right"])
        .status();
    assert!(made.unwrap().success());
    let broker = Mosquitto::with(&format!("allow_anonymous false\npassword_file {}\n", passwords.display()));
    for version in ["5", "3.1.1"] {
        let with = |password: &str| {
            let login = [("mqtt.username", "reader"), ("mqtt.password", password), ("mqtt.protocol.version", version)];
            source_config(&broker, &login)
        };
        let error = failure(with("hunter2"));
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.chain();
        assert!(text.contains("mqtt.username and mqtt.password") && !text.contains("hunter2"), "{text}");
        let mut harness = source(with("right"));
        poll_until(&mut harness, &mut Vec::new(), subscribed);
        harness.stop().unwrap();
    }
}

#[test]
fn a_message_above_the_limit_is_named_with_the_limit_it_needs() {
    let broker = Mosquitto::start();
    broker.session("kit-0", "lab/#");
    broker.publish_with(&["-t", "lab/image", "-q", "1", "-s"], &vec![7; 10_000_000]);
    broker.publish("lab/a", 1, &texts("small", 3));
    let limited = |version| source_config(&broker, &[("mqtt.protocol.version", version)]);
    let text = failure(limited("3.1.1")).chain();
    assert!(text.contains("mqtt.max.packet.size.bytes is 1048576: set it to at least 16777216"), "{text}");
    // An MQTT 5 broker is told the limit and leaves such messages out.
    let (mut harness, mut seen) = (source(limited("5")), Vec::new());
    poll_until(&mut harness, &mut seen, |_, seen| seen.len() == 3);
    harness.stop().unwrap();
}

#[test]
fn memory_is_bounded_while_kafka_is_slow() {
    let broker = Mosquitto::start();
    broker.session("kit-0", "lab/#");
    let large: Vec<String> = texts("m", 300).iter().map(|text| format!("{text}{}", "x".repeat(10_000))).collect();
    broker.publish("lab/a", 1, &large);
    let mut harness = source(source_config(&broker, &[("mqtt.buffer.max.bytes", "200000")]));
    let mut seen = 0;
    // Nothing is settled: after a while nothing more comes.
    let mut quiet = 0;
    while quiet < 5 {
        let records = harness.poll().unwrap().iter().filter_map(record).count();
        quiet = if records == 0 { quiet + 1 } else { 0 };
        seen += records;
        let held = number(&harness, "mqtt_source_held_bytes");
        assert!(held < 600_000, "{held} bytes are held");
    }
    assert!((10..60).contains(&seen), "{seen} of 300 messages");
    let mut rest = Vec::new();
    harness.settle();
    poll_until(&mut harness, &mut rest, |harness, rest| {
        seen + rest.len() == 300 && number(harness, "mqtt_source_held_bytes") == 0
    });
    harness.stop().unwrap();
}

#[test]
fn retained_messages_come_as_the_policy_says() {
    let broker = Mosquitto::start();
    broker.publish_with(&["-t", "lab/kept", "-q", "1", "-r", "-m", "kept"], b"");
    let mark = |text: &str| broker.publish("lab/a", 1, &[text.to_owned()]);
    for (version, policy, expected) in [
        ("5", "emit", [1, 1]),
        ("5", "once", [1, 0]),
        ("5", "skip", [0, 0]),
        ("3.1.1", "emit", [1, 1]),
        ("3.1.1", "skip", [0, 0]),
    ] {
        let id = format!("{policy}-{}", version.replace('.', ""));
        let settings = [("mqtt.protocol.version", version), ("mqtt.retained.policy", policy), ("mqtt.client.id", &id)];
        let config = source_config(&broker, &settings);
        for (turn, expected) in expected.into_iter().enumerate() {
            let (mut harness, mut seen) = (source(config.clone()), Vec::new());
            // The subscription was answered when the first offset is there.
            poll_until(&mut harness, &mut seen, subscribed);
            let end = format!("{id}-{turn}");
            mark(&end);
            poll_until(&mut harness, &mut seen, |_, seen| seen.contains(&end));
            let kept = seen.iter().filter(|text| *text == "kept").count();
            assert_eq!(kept, expected, "{version} {policy}, connection {turn}");
            harness.stop().unwrap();
        }
    }
}

#[test]
fn a_filter_that_is_gone_is_unsubscribed() {
    let broker = Mosquitto::with("allow_anonymous true\nlog_type all\n");
    let mut harness = source(source_config(&broker, &[("mqtt.topics", "old/#,lab/#")]));
    let mut seen = Vec::new();
    poll_until(&mut harness, &mut seen, subscribed);
    let offsets = std::sync::Arc::clone(&harness.offsets);
    harness.stop().unwrap();
    let mut harness = SourceHarness::new(&SOURCE, source_config(&broker, &[])).unwrap();
    harness.offsets = offsets;
    harness.start().unwrap();
    poll_until(&mut harness, &mut seen, |_, _| broker.log().contains("Received UNSUBSCRIBE from kit-0"));
    broker.publish("old/a", 1, &texts("old", 3));
    broker.publish("lab/a", 1, &texts("new", 3));
    poll_until(&mut harness, &mut seen, |_, seen| seen.len() >= 3);
    assert_eq!(seen, texts("new", 3));
    harness.stop().unwrap();
}

/// The tasks of a configuration, as they are planned, started.
fn running(
    config: &pipette_api::ConfigMap,
    tasks: usize,
    offsets: &std::sync::Arc<pipette_kit::MapOffsets>,
) -> Vec<SourceHarness> {
    let bench = pipette_kit::Bench::new().unwrap();
    let mut connector = (SOURCE.connector)(pipette_api::Settings::new(config.clone(), SOURCE.info.config)).unwrap();
    let planned = bench.run("a plan", async {
        connector.start(bench.connector(std::sync::Arc::clone(offsets) as _)).await.unwrap();
        connector.task_configs(tasks).await.unwrap()
    });
    let start = |task: pipette_api::ConfigMap| {
        let mut harness = SourceHarness::new(&SOURCE, config.clone().into_iter().chain(task).collect()).unwrap();
        harness.offsets = std::sync::Arc::clone(offsets);
        harness.start().unwrap();
        harness
    };
    planned.unwrap().into_iter().map(start).collect()
}

/// Polls until what was written has come, and stops them. Each task has emptied what it was to empty, and has its own
/// subscription, when its own offset is there.
fn until_all_have_come(
    mut running: Vec<SourceHarness>,
    offsets: &pipette_kit::MapOffsets,
    written: &[String],
    seen: &mut Vec<String>,
) {
    let begun = Instant::now();
    while offsets.all().len() != running.len() || written.iter().any(|text| !seen.contains(text)) {
        assert!(begun.elapsed() < 2 * TOLD, "{} tasks: {:?}, {seen:?}", running.len(), offsets.all());
        for harness in &mut running {
            let entries = harness.poll().unwrap();
            let records = entries.iter().filter_map(record);
            seen.extend(records.map(|record| record.value.value.as_str().unwrap().to_owned()));
            harness.settle();
        }
    }
    for harness in &mut running {
        harness.stop().unwrap();
    }
}

#[test]
fn nothing_is_lost_that_comes_while_tasks_and_filters_move() {
    let broker = Mosquitto::start();
    let base = source_config(&broker, &[("mqtt.client.id", "plant"), ("mqtt.scale.down.drain.idle.ms", "300")]);
    let offsets = std::sync::Arc::new(pipette_kit::MapOffsets::default());
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    for (turn, tasks, filters) in [
        (0, 4, "site/0/#,site/1/#,site/2/#,site/3/#"),
        (1, 1, "site/0/#,site/1/#,site/2/#,site/3/#"),
        (2, 2, "site/+/#"),
    ] {
        let mut config = base.clone();
        config.insert("mqtt.topics".into(), filters.into());
        let running = running(&config, tasks, &offsets);
        // They are started and have not been polled: those that are gone still wait to be emptied.
        if turn > 0 {
            for (site, text) in texts(&format!("t{turn}"), 4).into_iter().enumerate() {
                broker.publish(&format!("site/{site}/a"), 1, std::slice::from_ref(&text));
                written.push(text);
            }
        }
        until_all_have_come(running, &offsets, &written, &mut seen);
    }
}

#[test]
fn nothing_is_stranded_when_tasks_and_filters_go_and_come() {
    let broker = Mosquitto::start();
    let base = source_config(&broker, &[("mqtt.client.id", "plant"), ("mqtt.scale.down.drain.idle.ms", "300")]);
    let offsets = std::sync::Arc::new(pipette_kit::MapOffsets::default());
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    // How many tasks there may be, and the sites whose filters are given: first the tasks change, then the filters.
    for (turn, (tasks, sites)) in [(4, 0..8), (1, 0..8), (3, 0..8), (3, 4..12), (4, 10..18)].into_iter().enumerate() {
        let filters: Vec<String> = sites.clone().map(|number| format!("site/{number}/#")).collect();
        let mut config = base.clone();
        config.insert("mqtt.topics".into(), filters.join(","));
        let running = running(&config, tasks, &offsets);
        until_all_have_come(running, &offsets, &written, &mut seen);
        // What comes now waits in the session of every task.
        for (site, text) in sites.zip(texts(&format!("t{turn}"), 8)) {
            broker.publish(&format!("site/{site}/a"), 1, std::slice::from_ref(&text));
            written.push(text);
        }
    }
    // Under a filter that moves to another task, a message may come by both.
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 32, "{seen:?}");
}

#[test]
fn deleting_the_offsets_drops_the_session() {
    let broker = Mosquitto::start();
    let config = source_config(&broker, &[]);
    let (mut harness, mut seen) = (source(config.clone()), Vec::new());
    poll_until(&mut harness, &mut seen, subscribed);
    let offsets: Vec<_> = harness.offsets.all().into_keys().map(|partition| (partition, None)).collect();
    harness.stop().unwrap();
    broker.publish("lab/a", 1, &texts("old", 3));
    let bench = pipette_kit::Bench::new().unwrap();
    let mut connector = (SOURCE.connector)(pipette_api::Settings::new(config.clone(), SOURCE.info.config)).unwrap();
    bench.run("a deletion", connector.alter_offsets(&offsets)).unwrap().unwrap();
    let altered = vec![(offsets[0].0.clone(), Some(pipette_api::OffsetMap::new()))];
    let error = bench.run("a change", connector.alter_offsets(&altered)).unwrap().unwrap_err();
    assert!(error.chain().contains("cannot be set"), "{}", error.chain());
    let mut harness = source(config);
    poll_until(&mut harness, &mut seen, subscribed);
    broker.publish("lab/a", 1, &texts("new", 3));
    poll_until(&mut harness, &mut seen, |_, seen| seen.len() >= 3);
    assert_eq!(seen, texts("new", 3));
    harness.stop().unwrap();
}

#[test]
fn a_paused_source_leaves_messages_with_the_broker() {
    let broker = Mosquitto::start();
    let (mut harness, mut seen) = (source(source_config(&broker, &[])), Vec::new());
    poll_until(&mut harness, &mut seen, subscribed);
    broker.publish("lab/a", 1, &texts("p", 3));
    poll_until(&mut harness, &mut seen, |_, seen| seen.len() == 3);
    harness.pause_and_resume().unwrap();
    assert_eq!(number(&harness, "mqtt_source_connected"), 0);
    broker.publish("lab/a", 1, &texts("q", 3));
    poll_until(&mut harness, &mut seen, |_, seen| seen.len() >= 6);
    assert_eq!(seen, [texts("p", 3), texts("q", 3)].concat());
    harness.stop().unwrap();
}

#[test]
fn a_sink_goes_on_where_a_cut_left_it() {
    for version in ["5", "3.1.1"] {
        let broker = Mosquitto::start();
        let proxy = Proxy::to(broker.port);
        let mut listener = broker.listen("#");
        let config = config(&proxy.uri(), &[("mqtt.protocol.version", version)], &[]);
        let mut harness = SinkHarness::new(&SINK, config).unwrap();
        harness.start().unwrap();
        let tp = TopicPartition::new("orders", 0);
        harness.open(std::slice::from_ref(&tp)).unwrap();
        let written = texts("o", 500);
        for (turn, some) in written.chunks(100).enumerate() {
            let values = some.iter().map(|text| build::text(text)).collect();
            let (batch, mut outcome) = harness.put(&tp, values).unwrap();
            if turn % 2 == 1 {
                proxy.cut();
            }
            let begun = Instant::now();
            while let Err(error) = outcome.and_then(|()| harness.flush()) {
                assert!(error.kind() == ErrorKind::Retriable && begun.elapsed() < TOLD, "{}", error.chain());
                outcome = harness.put_again(&batch).unwrap();
            }
        }
        assert_eq!(harness.committed.get(&tp), Some(&500));
        let end = "the end".to_owned();
        broker.publish("end", 1, std::slice::from_ref(&end));
        let came = listener.until_payload(end.as_bytes());
        let missing: Vec<_> =
            written.iter().filter(|text| !came.iter().any(|(_, payload)| payload == text.as_bytes())).collect();
        assert!(missing.is_empty(), "{missing:?}");
        harness.stop().unwrap();
    }
}

#[test]
fn certificates_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let no_pem = folder.path().join("store.jks");
    fs::write(&no_pem, [0xfe, 0xed, 0xfe, 0xed]).unwrap();
    for (path, reason) in [("/nowhere/ca.pem", "cannot be read"), (no_pem.to_str().unwrap(), "keytool")] {
        let config = build::config(&[
            ("mqtt.server.uri", "mqtts://localhost"),
            ("mqtt.topics", "a"),
            ("mqtt.ssl.ca.path", path),
        ]);
        let bench = pipette_kit::Bench::new().unwrap();
        let settings = pipette_api::Settings::new(config, SOURCE.info.config);
        let wrong = bench.run("the live look", (SOURCE.probe.unwrap())(settings)).unwrap();
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].0 == "mqtt.ssl.ca.path" && wrong[0].1.contains(reason), "{wrong:?}");
    }
}
