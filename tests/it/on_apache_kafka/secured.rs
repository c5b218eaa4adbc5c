//! Secured clusters, from the keys that Apache's worker takes: every login, every kind of store, and what is said when the
//! way in is refused. One broker with a door for each; certificates are made by the test.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::support::certificates::{Authority, STORE_PASSWORD};
use crate::support::kafka::ApacheKafka;
use crate::support::token_server::TokenServer;
use crate::support::wait;
use crate::support::worker::Worker;

const PASSWORD: &str = "alice-s3cret";
const WRONG: &str = "wr0ng-s3cret";
const CLIENT_SECRET: &str = "client-s3cret";
/// None of them may show anywhere but in the configuration that was sent.
const SECRETS: [&str; 4] = [PASSWORD, WRONG, CLIENT_SECRET, STORE_PASSWORD];

/// The doors, in the order of [`Site::ports`].
const DOORS: [(&str, &str); 7] = [
    ("PLAIN", "SASL_SSL"),
    ("SCRAM", "SASL_SSL"),
    ("OAUTH", "SASL_SSL"),
    ("MUTUAL", "SSL"),
    ("EXPIRED", "SSL"),
    ("OTHER", "SSL"),
    ("CLEAR", "SASL_PLAINTEXT"),
];

/// Keys in Java's names, and their values.
type Keys<'a> = &'a [(&'a str, &'a str)];

/// Ten seconds are promised. A machine that is busy with other things as well may take twice as long.
const PROMPT: Duration = Duration::from_secs(20);

struct Site {
    authority: Authority,
    trust: String,
    tokens: TokenServer,
    ports: [u16; 7],
    kafka: ApacheKafka,
}

impl Site {
    /// One for all tests in here.
    fn shared() -> &'static Self {
        static SITE: OnceLock<Site> = OnceLock::new();
        SITE.get_or_init(|| {
            let folder = tempfile::Builder::new().prefix("secured-kafka-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
            Self::build(&folder.expect("a folder").keep())
        })
    }

    fn build(folder: &Path) -> Self {
        let authority = Authority::new(&folder.join("certificates"));
        authority.sign("broker", "DNS:localhost,IP:127.0.0.1", None);
        authority.sign("expired", "DNS:localhost", Some(("20240101000000Z", "20240201000000Z")));
        authority.sign("other", "DNS:elsewhere.example", None);
        authority.sign("client", "DNS:client", None);
        authority.lock_up("client");
        let trust = authority.trust("PKCS12");
        let tokens = authority.at("broker.both.pem");
        let tokens = TokenServer::start(&tokens, "worker", CLIENT_SECRET, "kafka", Duration::from_secs(30));
        let (kafka, ports) = broker(folder, &authority);
        Self { authority, trust, tokens, ports, kafka }
    }

    fn at(&self, door: &str) -> String {
        let index = DOORS.iter().position(|(name, _)| *name == door).expect("a door");
        format!("localhost:{}", self.ports[index])
    }

    /// The keys for a door, in Java's names.
    fn keys(&self, door: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let protocol = DOORS.iter().find(|(name, _)| *name == door).expect("a door").1;
        let mut keys =
            vec![("bootstrap.servers".to_owned(), self.at(door)), ("security.protocol".into(), protocol.into())];
        keys.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        keys
    }
}

fn broker(folder: &Path, authority: &Authority) -> (ApacheKafka, [u16; 7]) {
    const MODULES: &str = "org.apache.kafka.common.security";
    let pem = |name: &str| authority.at(&format!("{name}.both.pem"));
    let (broker, expired, other, ca) = (pem("broker"), pem("expired"), pem("other"), authority.at("ca.pem"));
    let plain = format!("{MODULES}.plain.PlainLoginModule required user_alice=\"{PASSWORD}\";");
    let scram = format!("{MODULES}.scram.ScramLoginModule required;");
    let oauth =
        format!("{MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";");
    let settings = [
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", &broker),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", &ca),
        ("listener.name.expired.ssl.keystore.type", "PEM"),
        ("listener.name.expired.ssl.keystore.location", &expired),
        ("listener.name.other.ssl.keystore.type", "PEM"),
        ("listener.name.other.ssl.keystore.location", &other),
        ("listener.name.mutual.ssl.client.auth", "required"),
        ("listener.name.plain.sasl.enabled.mechanisms", "PLAIN"),
        ("listener.name.plain.plain.sasl.jaas.config", &plain),
        ("listener.name.clear.sasl.enabled.mechanisms", "SCRAM-SHA-256"),
        ("listener.name.clear.scram-sha-256.sasl.jaas.config", &scram),
        ("listener.name.scram.sasl.enabled.mechanisms", "SCRAM-SHA-512"),
        ("listener.name.scram.scram-sha-512.sasl.jaas.config", &scram),
        ("listener.name.oauth.sasl.enabled.mechanisms", "OAUTHBEARER"),
        ("listener.name.oauth.oauthbearer.sasl.jaas.config", &oauth),
    ];
    let login = format!("SCRAM-SHA-512=[name=alice,password={PASSWORD}]");
    let more = format!("SCRAM-SHA-256=[name=alice,password={PASSWORD}]");
    ApacheKafka::with_doors(&folder.join("broker"), DOORS, &[&login, &more], &settings)
}

fn login(module: &str, password: &str) -> String {
    format!("org.apache.kafka.common.security.{module} required username=\"alice\" password=\"{password}\";")
}

/// A worker whose own clients, producers and consumers all have these keys.
fn worker(folder: &Path, keys: &[(String, String)], more: &[(&str, &str)]) -> Worker {
    let under = |prefix: &'static str| keys.iter().map(move |(key, value)| (format!("{prefix}{key}"), value.clone()));
    let all: Vec<(String, String)> = ["", "producer.", "consumer.", "admin."].into_iter().flat_map(under).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let servers = keys[0].1.clone();
    let mut worker = Worker::prepare(folder, &servers, &[&all[..], more].concat());
    worker.start();
    worker
}

fn over(client: &str, keys: &[(String, String)]) -> Map<String, Value> {
    keys.iter().map(|(key, value)| (format!("{client}.override.{key}"), json!(value))).collect()
}

fn source(topic: &str, file: &Path) -> Value {
    json!({"connector.class": "FileStreamSource", "topic": topic, "file": file,
        "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1"})
}

fn sink(topic: &str, file: &Path) -> Value {
    json!({"connector.class": "FileStreamSink", "topics": topic, "file": file})
}

fn with(mut config: Value, more: Map<String, Value>) -> Value {
    config.as_object_mut().expect("an object").extend(more);
    config
}

/// A file goes through a topic into another file; nothing that is said on the way holds a secret.
fn lines_go_through(worker: &Worker, folder: &Path, topic: &str, own: &[(String, String)]) {
    let (from, to) = (folder.join(format!("{topic}.in")), folder.join(format!("{topic}.out")));
    let lines = (0..200).map(|n| format!("{topic} {n}\n")).collect::<Vec<_>>().concat();
    std::fs::write(&from, &lines).expect("the file");
    let rest = worker.rest();
    let configs = [
        ("source", with(source(topic, &from), over("producer", own))),
        ("sink", with(sink(topic, &to), over("consumer", own))),
    ];
    for (kind, config) in &configs {
        let put = rest.put(&format!("/connectors/{topic}-{kind}/config"), config).expect("an answer");
        assert_eq!(put.status, 201, "{}", put.body);
    }
    wait::until("every line at the other end", Duration::from_mins(1), || {
        let found = std::fs::read_to_string(&to).unwrap_or_default();
        if found == lines { Ok(()) } else { Err(format!("{} of {} bytes", found.len(), lines.len())) }
    });
    for (kind, config) in &configs {
        let class = config["connector.class"].as_str().expect("a class");
        let validated = rest.put(&format!("/connector-plugins/{class}/config/validate"), &named(config, topic));
        let validated = validated.expect("an answer");
        assert_eq!(validated.body["error_count"], 0, "{}", validated.body);
        no_secret_in("validate", &validated.body.to_string());
        let status = rest.get(&format!("/connectors/{topic}-{kind}/status")).expect("an answer").body;
        assert_eq!(status["tasks"][0]["state"], "RUNNING", "{status}");
        no_secret_in("status", &status.to_string());
    }
    no_secret_in("metrics", &rest.get("/metrics").expect("an answer").body.to_string());
    no_secret_in("log", &worker.log());
}

fn named(config: &Value, name: &str) -> Value {
    with(config.clone(), Map::from_iter([("name".to_owned(), json!(name))]))
}

fn no_secret_in(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} holds {secret}: {text}");
    }
    assert!(!text.contains("PRIVATE KEY"), "{what} holds a key: {text}");
}

/// PLAIN over TLS for everything the worker does itself, offsets in a topic included; SCRAM in one connector's overrides.
/// The password stands in a file, and only its place in the configurations.
#[test]
fn plain_for_the_worker_and_scram_for_one_connector() {
    let (site, folder) = (Site::shared(), tempfile::tempdir().expect("a folder"));
    let ca = site.authority.at("ca.pem");
    let file = folder.path().join("secrets.properties");
    std::fs::write(&file, format!("alice={PASSWORD}\n")).expect("the secrets");
    let place = format!("${{secrets:{}:alice}}", file.display());
    let plain = login("plain.PlainLoginModule", &place);
    let keys = site.keys(
        "PLAIN",
        &[
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", &plain),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &ca),
        ],
    );
    let own = [
        ("group.id", "secured"),
        ("offset.storage.topic", "secured-offsets"),
        ("config.providers", "secrets"),
        ("config.providers.secrets.class", "org.apache.kafka.common.config.provider.FileConfigProvider"),
        ("config.providers.secrets.param.allowed.paths", &file.display().to_string()),
    ];
    let mut worker = worker(folder.path(), &keys, &own);
    lines_go_through(&worker, folder.path(), "plain", &[]);
    let scram = login("scram.ScramLoginModule", &place);
    for (door, mechanism) in [("SCRAM", "SCRAM-SHA-512"), ("CLEAR", "SCRAM-SHA-256")] {
        let own = site.keys(
            door,
            &[
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", &scram),
                ("ssl.truststore.type", "PKCS12"),
                ("ssl.truststore.location", &site.trust),
                ("ssl.truststore.password", STORE_PASSWORD),
            ],
        );
        lines_go_through(&worker, folder.path(), &format!("scram-{}", door.to_lowercase()), &own);
    }
    for path in ["/connectors/scram-clear-sink/config", "/connectors/scram-clear-sink/tasks"] {
        let shown = worker.rest().get(path).expect("an answer").body.to_string();
        assert!(shown.contains(&place) && !shown.contains(PASSWORD), "{shown}");
    }
    let root = worker.rest().get("/").expect("an answer").body;
    assert!(root["kafka_cluster_id"].is_string(), "{root}");
    assert!(worker.stop().success());
    no_secret_in("log", &worker.log());
}

#[test]
fn tokens_come_from_a_token_server() {
    let (site, folder) = (Site::shared(), tempfile::tempdir().expect("a folder"));
    let ca = site.authority.at("ca.pem");
    let jaas = format!(
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"worker\" \
         clientSecret=\"{CLIENT_SECRET}\" scope=\"kafka\" ssl.truststore.type=\"PEM\" ssl.truststore.location=\"{ca}\";"
    );
    let keys = site.keys(
        "OAUTH",
        &[
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.token.endpoint.url", &site.tokens.url),
            (
                "sasl.login.callback.handler.class",
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
            ),
            ("sasl.jaas.config", &jaas),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &ca),
        ],
    );
    let offsets = [("group.id", "tokens"), ("offset.storage.topic", "tokens-offsets")];
    let mut worker = worker(folder.path(), &keys, &offsets);
    lines_go_through(&worker, folder.path(), "oauth", &[]);
    let given = site.tokens.given();
    assert!((1..=4).contains(&given), "one token for all clients, not {given}");
    wait::until("another token before the first has expired", Duration::from_secs(40), || {
        if site.tokens.given() > given { Ok(()) } else { Err(format!("{given}")) }
    });
    lines_go_through(&worker, folder.path(), "oauth-later", &[]);
    assert!(worker.stop().success());
    no_secret_in("log", &worker.log());
}

/// A key store in PKCS12 for the worker, and everything inline with an encrypted key for one connector.
#[test]
fn certificates_on_both_sides() {
    let (site, folder) = (Site::shared(), tempfile::tempdir().expect("a folder"));
    let store = site.authority.at("client.p12");
    let keys = site.keys(
        "MUTUAL",
        &[
            ("ssl.keystore.location", &store),
            ("ssl.keystore.password", STORE_PASSWORD),
            ("ssl.truststore.location", &site.trust),
            ("ssl.truststore.password", STORE_PASSWORD),
            ("ssl.enabled.protocols", "TLSv1.3"),
        ],
    );
    let mut worker = worker(folder.path(), &keys, &[]);
    lines_go_through(&worker, folder.path(), "mutual", &[]);
    let line = |file: &str| site.authority.in_one_line(file);
    let (key, chain, ca) = (line("client.encrypted.key"), line("client.pem"), line("ca.pem"));
    let inline = site.keys(
        "MUTUAL",
        &[
            ("ssl.keystore.location", ""),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.key", &key),
            ("ssl.key.password", STORE_PASSWORD),
            ("ssl.keystore.certificate.chain", &chain),
            ("ssl.truststore.location", ""),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.certificates", &ca),
            ("ssl.enabled.protocols", "TLSv1.2,TLSv1.3"),
        ],
    );
    lines_go_through(&worker, folder.path(), "mutual-inline", &inline);
    assert!(worker.stop().success());
    no_secret_in("log", &worker.log());
}

/// Each in one text of the task's status, in words, for a source as for a sink.
#[test]
fn whoever_is_not_let_in_reads_why() {
    let (site, folder) = (Site::shared(), tempfile::tempdir().expect("a folder"));
    let mut worker = Worker::prepare(folder.path(), &site.kafka.bootstrap(), &[]);
    worker.start();
    let ca = site.authority.at("ca.pem");
    let trust = [("ssl.truststore.type", "PEM"), ("ssl.truststore.location", ca.as_str())];
    let (plain, scram) = (login("plain.PlainLoginModule", WRONG), login("scram.ScramLoginModule", WRONG));
    let token = format!(
        "x.OAuthBearerLoginModule required clientId=\"worker\" clientSecret=\"{WRONG}\" ssl.truststore.location=\"{ca}\";"
    );
    let cases: [(&str, Keys<'_>, &[&str]); 6] = [
        (
            "PLAIN",
            &[("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", &plain)],
            &["Kafka refuses the login", "Authentication failed"],
        ),
        (
            "SCRAM",
            &[("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.jaas.config", &scram)],
            &["Kafka refuses the login", "Authentication failed"],
        ),
        (
            "OAUTH",
            &[
                ("sasl.mechanism", "OAUTHBEARER"),
                ("sasl.jaas.config", &token),
                ("sasl.oauthbearer.token.endpoint.url", &site.tokens.url),
            ],
            &["token server", "answers 401 to client worker", "invalid_client"],
        ),
        ("MUTUAL", &[], &["no TLS connection", "wants a certificate"]),
        ("EXPIRED", &[], &["certificate of the broker at localhost", "has expired (at 2024-02-01"]),
        ("OTHER", &[], &["is for DnsName(\"elsewhere.example\"), and not for localhost"]),
    ];
    for (door, keys, parts) in cases {
        let own = site.keys(door, &[&trust[..], keys].concat());
        reads_why(&worker, folder.path(), &door.to_lowercase(), &own, parts);
    }
    no_secret_in("log", &worker.log());
    no_secret_in("metrics", &worker.rest().get("/metrics").expect("an answer").body.to_string());
}

/// A source, one that first makes its topic, and a sink, each with all of these words in its task's status.
fn reads_why(worker: &Worker, folder: &Path, door: &str, own: &[(String, String)], parts: &[&str]) {
    let from = folder.join("lines");
    std::fs::write(&from, "one\ntwo\n").expect("the file");
    let making = with(source("refused", &from), over("producer", own));
    let mut plain = making.clone();
    plain.as_object_mut().expect("an object").retain(|key, _| !key.starts_with("topic.creation"));
    let reading = with(sink("refused", &folder.join("none")), over("consumer", own));
    let made =
        [("making", making), ("source", plain), ("sink", reading)].map(|(kind, it)| (format!("{door}-{kind}"), it));
    let began = Instant::now();
    for (name, config) in &made {
        let put = worker.rest().put(&format!("/connectors/{name}/config"), config).expect("an answer");
        assert_eq!(put.status, 201, "{}", put.body);
    }
    for (name, _) in &made {
        let mut last = String::new();
        let told = |text: &str| parts.iter().all(|part| text.contains(part));
        wait::up_to(Duration::from_secs(25), || {
            let status = worker.rest().get(&format!("/connectors/{name}/status")).expect("an answer").body;
            last = status["tasks"][0].to_string().replace("\\\"", "\"");
            told(&last)
        });
        let time = began.elapsed();
        println!("{name} after {time:?}: {last}");
        assert!(told(&last) && time < PROMPT, "{name} after {time:?}: {last}\n{}", worker.log());
        no_secret_in("status", &last);
    }
    for (name, _) in &made {
        worker.rest().send("DELETE", &format!("/connectors/{name}"), None).expect("an answer");
    }
}
