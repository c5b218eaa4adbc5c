//! REST under made-up requests: broken HTTP, endless headers, tricks in paths and names, JSON of every wrong kind.
//!
//! A real worker gets them through raw sockets, in an order that a seed decides. Nothing may crash it, make it grow or
//! show a secret, and what it refuses it refuses with a 4xx in the form of all errors, or before there is a resource with
//! a bare 4xx or the end of the connection. `./test` sends some thousands; the proof sends 100,000:
//!
//! `cargo test -p pipette --test it -- hostile::a_hundred_thousand --ignored --nocapture`
//!
//! `made.rs` makes the requests up.

mod made;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use pipette_kit::dice::Dice;
use serde_json::{Value, json};

use self::made::{Made, Request};
use crate::support::worker::Worker;
use crate::support::{figures, free_ports, wait};

/// Of `./test`.
const SHORT: u64 = 4_000;
/// How long an answer may take.
const PROMPT: Duration = Duration::from_secs(5);
/// What a password-typed key, a config provider's file and a worker key hold. It is in no answer.
const SECRET: &str = "hunter2-Zq81";
/// How much larger the worker may be at the end than after the first requests.
const GROWTH: u64 = 96 << 20;

#[test]
fn some_thousand_hostile_requests_do_no_harm() {
    play(SHORT, "hostile_short");
}

#[test]
#[ignore = "takes minutes; the command stands in the module's head"]
fn a_hundred_thousand() {
    play(100_000, "hostile");
}

fn play(count: u64, proof: &str) {
    let seed = std::env::var("PIPETTE_HOSTILE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("PIPETTE_HOSTILE_SEED={seed} repeats this");
    let folder = tempfile::tempdir().expect("a folder");
    let mut worker = guarded(folder.path());
    let secrets = folder.path().join("secrets.properties").display().to_string();
    assert_hidden(&worker, &secrets);
    let mut dice = Dice(seed);
    let mut statuses = BTreeMap::<u16, u64>::new();
    let (mut slowest, mut before) = (Duration::ZERO, None);
    let begun = Instant::now();
    for number in 0..count {
        let request = made::request(&mut dice, &secrets);
        let sent = Instant::now();
        let answer = send(worker.rest().address(), &request);
        slowest = slowest.max(sent.elapsed());
        judge(number, &request, &answer);
        *statuses.entry(answer.status.unwrap_or_default()).or_default() += 1;
        if number == count / 4 {
            worker.assert_lives();
            clear(&worker);
            before = Some(Size::of(worker.pid()));
        }
        if number % 500 == 0 {
            clear(&worker);
        }
    }
    clear(&worker);
    worker.assert_lives();
    let (before, after) = (before.expect("enough requests"), Size::of(worker.pid()));
    assert!(after.memory < before.memory + GROWTH, "memory: {before:?}, then {after:?}");
    assert!(after.threads <= before.threads + 8 && after.files <= before.files + 8, "{before:?}, then {after:?}");
    let log = worker.log();
    assert!(!log.contains("Panic") && !log.contains(SECRET), "the log:\n{log}");
    assert_eq!(worker.rest().get("/health").expect("an answer").status, 200);
    assert!(worker.stop().success());
    let kinds: Vec<String> = statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    let line = format!(
        "{count} requests of seed {seed} in {} s, slowest {} ms; {}; memory {} MiB, then {} MiB; threads {}, then {}; \
         descriptors {}, then {}",
        begun.elapsed().as_secs(),
        slowest.as_millis(),
        kinds.join(", "),
        before.memory >> 20,
        after.memory >> 20,
        before.threads,
        after.threads,
        before.files,
        after.files,
    );
    figures::record(proof, &line);
}

/// A worker with secrets: in a provider's file, in its own keys, and in what a connector's provider key stands for.
fn guarded(folder: &Path) -> Worker {
    let secrets = folder.join("secrets.properties");
    fs::write(&secrets, format!("password={SECRET}\n")).expect("a secret");
    let [port] = free_ports();
    let keys = [
        ("config.providers", "file"),
        ("config.providers.file.class", "org.apache.kafka.common.config.provider.FileConfigProvider"),
        ("listeners.https.ssl.keystore.password", SECRET),
        ("task.shutdown.graceful.timeout.ms", "1000"),
    ];
    let mut worker = Worker::prepare(folder, &format!("127.0.0.1:{port}"), &keys).with(&["--embedded"]);
    worker.start();
    let placeholder = format!("${{file:{}:password}}", secrets.display());
    let config = json!({
        "connector.class": "FileStreamSource", "topic": "t", "file": folder.join("in.txt"),
        "secret.value": placeholder, "producer.override.ssl.key.password": placeholder,
        "producer.override.linger.ms": placeholder,
    });
    let refused = worker.rest().put("/connectors/guarded/config", &config).expect("an answer");
    assert!(refused.status == 400 && !refused.body.to_string().contains(SECRET), "{refused:?}");
    let mut config = config;
    config["producer.override.linger.ms"] = "5".into();
    let made = worker.rest().put("/connectors/guarded/config", &config).expect("an answer");
    assert!(made.status == 201 && !made.body.to_string().contains(SECRET), "{made:?}");
    worker
}

/// Whatever key stands for the secret, no answer shows what it stands for.
fn assert_hidden(worker: &Worker, secrets: &str) {
    let rest = worker.rest();
    for key in made::KEYS {
        let mut config = json!({"connector.class": "FileStreamSource", "topic": "t", "file": "/none", "name": "leaks"});
        config[key] = format!("${{file:{secrets}:password}}").into();
        let checked = rest.put("/connector-plugins/FileStreamSource/config/validate", &config).expect("an answer");
        let made = rest.put("/connectors/leaks/config", &config).expect("an answer");
        // It comes to rest, and says why it failed if it does.
        wait::up_to(Duration::from_millis(300), || {
            let status = rest.get("/connectors/leaks/status").expect("an answer");
            status.status != 200 || status.body.to_string().contains("FAILED")
        });
        let shown = ["", "/status", "/tasks", "/config"].map(|part| rest.get(&format!("/connectors/leaks{part}")));
        let all = format!("{checked:?} {made:?} {shown:?}");
        assert!(!all.contains(SECRET), "{key}: {all}");
    }
}

/// Takes away what requests have made.
fn clear(worker: &Worker) {
    let rest = worker.rest();
    let list = rest.get("/connectors").expect("an answer").body;
    let names = list.as_array().cloned().unwrap_or_default();
    for name in names.iter().filter_map(Value::as_str).filter(|name| *name != "guarded") {
        let path = name.bytes().fold(String::new(), |path, byte| path + &format!("%{byte:02X}"));
        let gone = rest.send("DELETE", &format!("/connectors/{path}"), None).expect("an answer").status;
        assert!([204, 404].contains(&gone), "{name}: {gone}");
    }
}

/// What came back: nothing but the end of the connection, or an answer.
#[derive(Debug)]
struct Answer {
    status: Option<u16>,
    text: String,
}

fn send(address: &str, request: &Request) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the worker listens");
    stream.set_read_timeout(Some(PROMPT)).expect("a socket");
    stream.set_write_timeout(Some(PROMPT)).expect("a socket");
    // A server that has read enough may answer and close before all is written.
    if stream.write_all(&request.bytes).is_ok() && request.ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let (mut bytes, mut part) = (Vec::new(), [0; 16_384]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no end of the answer to {request:?}: {error}"),
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    Answer { status, text }
}

fn judge(number: u64, request: &Request, answer: &Answer) {
    let tell = || format!("request {number}, {request:?}\nanswer {}", answer.text);
    assert!(!answer.text.contains(SECRET), "a secret in the answer: {}", tell());
    let Some(status) = answer.status else {
        assert!(answer.text.is_empty() && request.made != Made::Whole, "no answer: {}", tell());
        return;
    };
    // Only what was never sent in full may go without an answer, and only what is not HTTP without words.
    assert!(status < 500, "{}", tell());
    if request.made == Made::Smuggled {
        assert!(status == 400 && answer.text.matches("HTTP/1.1 ").count() == 1, "{}", tell());
    }
    if request.made == Made::Wrong {
        assert!((400..500).contains(&status), "not refused: {}", tell());
    }
    // The first answer, where a request hides a second.
    let body = answer.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body = body.split("HTTP/1.1 ").next().unwrap_or_default();
    if status >= 400 && !body.is_empty() && !request.is_head() {
        let json: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", tell()));
        assert!(json["error_code"] == status && json["message"].is_string(), "{}", tell());
    }
}

/// What a leak would show in.
#[derive(Debug, Clone, Copy)]
struct Size {
    memory: u64,
    threads: u64,
    files: usize,
}

impl Size {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker's status");
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of it");
            line.trim_start_matches(':').split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number")
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
        Self { memory: number("VmRSS") << 10, threads: number("Threads"), files }
    }
}
