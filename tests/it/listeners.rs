//! Where REST is reached: several addresses, some for loggers only, with and without logins, and by which name.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::support::free_ports;
use crate::support::rest::Rest;
use crate::support::worker::Worker;

const EXTENSION: &str = "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension";
const MODULE: &str = "org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule";

/// A worker that is not started, with one more address that serves everything and two that serve loggers.
fn prepared<'a>(folder: &Path, keys: &[(&'a str, &'a str)]) -> (Worker, Rest, [Rest; 2]) {
    let [more, first, second] = free_ports();
    let worker = Worker::prepare(folder, "127.0.0.1:1", keys);
    let mut file = File::options().append(true).open(folder.join("worker.properties")).expect("the worker's file");
    let own = worker.rest().address();
    writeln!(file, "listeners=http://{own}, http://127.0.0.1:{more}").expect("a line");
    writeln!(file, "admin.listeners=http://127.0.0.1:{first},HTTP://127.0.0.1:{second}").expect("a line");
    (worker, Rest::new(more), [Rest::new(first), Rest::new(second)])
}

#[test]
fn every_address_serves_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("rest.advertised.host.name", "lab.example"), ("rest.advertised.port", "99")];
    let (mut worker, more, admin) = prepared(folder.path(), &keys);
    worker.start();
    let config = json!({"connector.class": "FileStreamSource", "topic": "t"});
    assert_eq!(more.put("/connectors/a/config", &config).unwrap().status, 201);
    for main in [worker.rest(), &more] {
        let status = main.get("/connectors/a/status").unwrap();
        assert_eq!(status.body["connector"]["worker_id"], "lab.example:99");
        assert_eq!(main.get("/admin/loggers/root").unwrap().status, 404);
    }
    for admin in &admin {
        assert_eq!(admin.get("/connectors").unwrap().status, 404);
        assert_eq!(admin.get("/admin/loggers/root").unwrap().body["level"], "INFO");
    }
    assert!(worker.stop().success());
    assert!(more.get("/").is_err() && admin[1].get("/").is_err());
}

#[test]
fn a_login_is_asked_for_at_every_address() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, "ann=s3cret\n").unwrap();
    let jaas = folder.path().join("jaas.conf");
    fs::write(&jaas, format!("KafkaConnect {{ {MODULE} required file=\"{}\"; }};", users.display())).unwrap();
    let file = jaas.display().to_string();
    let keys = [("rest.extension.classes", EXTENSION), ("java.security.auth.login.config", &file)];
    let (mut worker, more, [admin, _]) = prepared(folder.path(), &keys);
    worker.start();
    for (rest, path) in
        [(&more, "/connectors"), (&more, "/metrics"), (&more, "/openapi.json"), (&admin, "/admin/loggers")]
    {
        let refused = rest.get(path).unwrap();
        assert_eq!((refused.status, refused.body.as_str()), (401, Some("User cannot access the resource.")), "{path}");
    }
    let admin = admin.authorized("Basic YW5uOnMzY3JldA==");
    assert_eq!(admin.get("/admin/loggers/root").unwrap().status, 200);
    assert_eq!(more.authorized("Basic YW5uOnMzY3JldA==").get("/connectors").unwrap().status, 200);
    assert!(!worker.log().contains("s3cret"));
    assert!(worker.stop().success());
}

#[test]
fn what_protects_and_cannot_be_honoured_stops_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    for (keys, why) in [
        ([("rest.extension.classes", "org.x.Auth"), ("x", "y")], "org.x.Auth is Java code"),
        ([("rest.extension.classes", EXTENSION), ("x", "y")], "the log-ins are missing"),
        (
            [("rest.extension.classes", EXTENSION), ("java.security.auth.login.config", "/no/such")],
            "/no/such cannot be read",
        ),
    ] {
        let mut worker =
            Worker::prepare(folder.path(), "127.0.0.1:1", &keys).in_environment(&[("KAFKA_OPTS", "-Dx=y".to_owned())]);
        worker.spawn();
        assert_eq!(worker.wait().code(), Some(2));
        assert!(worker.log().contains(why), "{}", worker.log());
    }
}
