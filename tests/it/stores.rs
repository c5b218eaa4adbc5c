//! Key and trust stores in every form that Java writes, and HTTPS with them: REST as its clients meet it.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use pipette::settings::stores::{self, SslKeys};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::support::certificates::{Authority, STORE_PASSWORD};
use crate::support::worker::Worker;
use crate::support::{free_ports, wait};

struct Keys(BTreeMap<String, String>);

impl SslKeys for Keys {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn written(&self, name: &str) -> String {
        format!("own.{name}")
    }
}

fn keys(pairs: &[(&str, &str)]) -> Keys {
    Keys(pairs.iter().map(|(key, value)| (format!("ssl.{key}"), (*value).to_owned())).collect())
}

#[test]
fn every_form_of_a_store_holds_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    authority.sign("one", "DNS:localhost", None);
    authority.lock_up("one");
    let read = |pairs: &[(&str, &str)]| stores::identity(&keys(pairs)).expect("a store").expect("an identity");
    let whole = read(&[("keystore.location", &authority.at("one.both.pem"))]);
    assert_eq!(whole.chain.matches("BEGIN CERTIFICATE").count(), 2);
    let p12 = [("keystore.location", authority.at("one.p12"))];
    let p12 =
        read(&[("keystore.location", &p12[0].1), ("keystore.password", STORE_PASSWORD), ("keystore.type", "JKS")]);
    assert!(p12.chain.starts_with(&whole.chain[..whole.chain.find("END").expect("an end")]), "{}", p12.chain);
    let text = |file: &str| authority.in_one_line(file);
    let (key, locked, chain) = (text("one.key"), text("one.encrypted.key"), text("one.pem"));
    let inline = [("keystore.certificate.chain", chain.as_str()), ("keystore.key", &key)];
    assert!(read(&inline) == whole, "blanks for line ends");
    let encrypted = [inline[0], ("keystore.key", &locked), ("key.password", STORE_PASSWORD)];
    assert!(read(&encrypted) == whole, "an encrypted key");
    assert!(!format!("{whole:?}").contains("PRIVATE"));
    assert_eq!(stores::identity(&keys(&[])).expect("nothing"), None);

    let ca = std::fs::read_to_string(authority.at("ca.pem")).expect("it is there");
    let trusted = |pairs: &[(&str, &str)]| stores::trusted(&keys(pairs)).expect("a store").expect("certificates");
    assert_eq!(trusted(&[("truststore.location", &authority.at("ca.pem"))]), ca);
    assert_eq!(trusted(&[("truststore.certificates", &text("ca.pem"))]), ca);
    assert_eq!(
        trusted(&[("truststore.location", &authority.trust("PKCS12")), ("truststore.password", STORE_PASSWORD)]),
        ca
    );
}

#[test]
fn what_cannot_be_read_is_told_by_its_key_and_without_its_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    authority.sign("one", "DNS:localhost", None);
    authority.lock_up("one");
    let (p12, jks, both) = (authority.at("one.p12"), authority.trust("JKS"), authority.at("one.both.pem"));
    let locked = authority.in_one_line("one.encrypted.key");
    let chain = authority.in_one_line("one.pem");
    let inline = |password: &'static str| {
        [("keystore.key", locked.as_str()), ("keystore.certificate.chain", &chain), ("key.password", password)]
    };
    let convert = format!(
        "keytool -importkeystore -srckeystore {jks} -srcstoretype JKS -destkeystore {}",
        jks.replace("jks", "p12")
    );
    for (pairs, key, part) in [
        (
            &[("keystore.location", p12.as_str()), ("keystore.password", "s3cret")][..],
            "keystore.location",
            "is not its password",
        ),
        (&[("keystore.location", &p12)], "keystore.location", "set own.ssl.keystore.password"),
        (&[("keystore.location", &authority.at("ca.pem"))], "keystore.location", "no private key"),
        (&[("keystore.location", "/no/such")], "keystore.location", "/no/such cannot be read"),
        (&[("keystore.location", &jks)], "keystore.location", &convert),
        (&[("keystore.location", &authority.at("index.txt"))], "keystore.location", "neither PEM nor PKCS12"),
        (&[("keystore.location", &both), ("keystore.key", "s3cret")], "keystore.location", "Give one of them"),
        (&[("keystore.key", "s3cret")], "keystore.key", "keystore.certificate.chain"),
        (&[("keystore.certificate.chain", &chain)], "keystore.certificate.chain", "ssl.keystore.key"),
        (
            &[("keystore.key", "s3cret"), ("keystore.certificate.chain", &chain)],
            "keystore.key",
            "no private key in PEM",
        ),
        (&inline(""), "key.password", "there is no password"),
        (&inline("s3cret"), "key.password", "does not open"),
    ] {
        let error = stores::identity(&keys(pairs)).expect_err(part).chain();
        let named = format!("Invalid value for configuration own.ssl.{key}: ");
        assert!(error.starts_with(&named) && error.contains(part) && !error.contains("s3cret"), "{part}: {error}");
    }
    let error = stores::trusted(&keys(&[("truststore.location", &jks)])).expect_err("a JKS").to_string();
    assert!(error.contains(&convert), "{error}");
    let damaged = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----";
    let error = stores::trusted(&keys(&[("truststore.certificates", damaged)])).expect_err("no text").to_string();
    assert!(error.contains("damaged"), "{error}");
}

/// A client that trusts the authority, with or without a certificate of its own.
fn client(authority: &Authority, own: Option<&str>) -> ureq::Agent {
    let read = |file: &str| std::fs::read(authority.at(file)).expect("it was made");
    let certificate = |file: &str| Certificate::from_pem(&read(file)).expect("a certificate");
    let own = own.map(|name| {
        let key = PrivateKey::from_pem(&read(&format!("{name}.key"))).expect("a key");
        ClientCert::new_with_certs(&[certificate(&format!("{name}.crt"))], key)
    });
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate("ca.pem")])).client_cert(own);
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20)));
    config.tls_config(tls.build()).build().into()
}

#[test]
fn https_with_certificates_on_both_sides() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(&folder.path().join("certificates"));
    authority.sign("rest", "DNS:localhost", None);
    authority.sign("client", "DNS:client", None);
    authority.lock_up("rest");
    let [port, kafka] = free_ports();
    let (store, ca) = (authority.at("rest.p12"), authority.at("ca.pem"));
    let mut worker = Worker::prepare(
        folder.path(),
        &format!("127.0.0.1:{kafka}"),
        &[
            ("listeners", &format!("https://localhost:{port}")),
            ("listeners.https.ssl.keystore.location", &store),
            ("listeners.https.ssl.keystore.password", STORE_PASSWORD),
            ("listeners.https.ssl.truststore.location", &ca),
            ("listeners.https.ssl.client.auth", "required"),
            // Without the prefix they would be for another listener: Java reads either those or the others.
            ("ssl.keystore.location", "/no/such/store"),
        ],
    );
    worker.spawn();
    let root = format!("https://localhost:{port}/");
    let ask = |agent: &ureq::Agent, url: &str| agent.get(url).call().map(|answer| answer.status().as_u16());
    let known = client(&authority, Some("client"));
    wait::until("HTTPS", Duration::from_mins(1), || {
        worker.assert_lives();
        ask(&known, &root).map_err(|error| error.to_string())
    });
    // Somebody who connects and says nothing keeps nobody waiting.
    let _silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("a socket")).collect();
    assert_eq!(ask(&known, &root).expect("an answer"), 200);
    let new = known.put(format!("{root}connectors/a/config")).header("Content-Type", "application/json");
    let made = new.send(r#"{"connector.class":"FileStreamSource","topic":"t"}"#).expect("an answer");
    assert_eq!(made.headers()["location"], format!("{root}connectors/a"));
    assert!(ask(&client(&authority, None), &root).is_err(), "who shows no certificate is let in");
    assert!(ask(&known, &format!("http://localhost:{port}/")).is_err(), "HTTP is spoken");
    commands_show_and_trust_certificates(&authority, &root);
    assert!(worker.stop().success());
    let log = worker.log();
    assert!(!log.contains(STORE_PASSWORD) && !log.contains("PRIVATE"), "{log}");
}

/// `pipette health` and `pipette dlq` at a worker that asks for a certificate.
fn commands_show_and_trust_certificates(authority: &Authority, root: &str) {
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_pipette")).args(arguments).output().expect("pipette");
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        (done.status.success(), said)
    };
    let (ca, both) = (authority.at("ca.pem"), authority.at("client.both.pem"));
    let (is_well, said) = run(&["health", root, "--ca-file", &ca, "--cert-file", &both]);
    assert!(is_well && said.contains("healthy"), "{said}");
    let replay = ["dlq", "replay", "none", "--url", root, "--ca-file", &ca, "--cert-file", &both];
    assert!(run(&replay).1.contains("Connector none not found"), "{}", run(&replay).1);
    for (arguments, why) in [
        (&[][..], "do not trust each other: --ca-file says whom to trust"),
        (&["--ca-file", &ca], "--cert-file what to show"),
        (&["--ca-file", "/no/such.pem"], "for configuration --ca-file: /no/such.pem cannot be read"),
        (&["--ca-file", &ca, "--cert-file", &ca], "for configuration --cert-file: "),
    ] {
        let (is_well, said) = run(&[&["health", root], arguments].concat());
        assert!(!is_well && said.contains(why), "{arguments:?}: {said}");
    }
}

#[test]
fn https_that_cannot_be_honoured_stops_the_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(&folder.path().join("certificates"));
    authority.sign("rest", "DNS:localhost", None);
    let (both, [port, kafka]) = (authority.at("rest.both.pem"), free_ports());
    let listener = format!("https://127.0.0.1:{port}");
    for (keys, part) in [
        (&[][..], "ssl.keystore.location: it is missing"),
        (
            &[("ssl.keystore.location", both.as_str()), ("ssl.client.auth", "required")],
            "ssl.truststore.location: it is missing",
        ),
        (
            &[("ssl.keystore.location", &both), ("ssl.client.auth", "Required")],
            "ssl.client.auth: String must be one of",
        ),
        (
            &[("ssl.keystore.location", &both), ("ssl.enabled.protocols", "SSLv3")],
            "ssl.enabled.protocols: it has neither",
        ),
        (&[("ssl.keystore.location", &both), ("ssl.cipher.suites", "TLS_NONE")], "ssl.cipher.suites: none of them"),
    ] {
        let inner = tempfile::tempdir_in(folder.path()).expect("a folder");
        let all = [&[("listeners", listener.as_str())], keys].concat();
        let mut worker = Worker::prepare(inner.path(), &format!("127.0.0.1:{kafka}"), &all);
        worker.spawn();
        assert!(!worker.wait().success(), "{part}");
        assert!(worker.log().contains(part), "{part}: {}", worker.log());
    }
}
