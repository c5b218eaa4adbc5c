//! Requests made up from `/openapi.json` by schemathesis, on a real worker with its broker: every answer has a status and a
//! shape that are described, none is a 5xx, none takes a second, and the worker goes on.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::worker::Worker;
use crate::support::{figures, free_ports, python, tail, wait};

/// Requests made up for each operation, besides those for each edge of its description.
const EXAMPLES: &str = "25";
/// Of the whole run.
const LIMIT: Duration = Duration::from_mins(2);

#[test]
fn a_client_made_from_the_description_finds_nothing_it_does_not_describe() {
    let schemathesis = python::program("schemathesis", "schemathesis");
    let folder = tempfile::tempdir().expect("a folder");
    let [port] = free_ports();
    let mut worker = Worker::prepare(folder.path(), &format!("127.0.0.1:{port}"), &[]).with(&["--embedded"]);
    worker.start();
    let file = folder.path().join("orders.txt");
    fs::write(&file, "one\ntwo\n").expect("something to read");
    let config = json!({"connector.class": "FileStreamSource", "file": file, "topic": "orders"});
    let orders = json!({"name": "orders", "config": config});
    let create = || worker.rest().send("POST", "/connectors", Some(&orders)).expect("an answer").status;
    assert_eq!(create(), 201);

    let seed = std::env::var("PIPETTE_SCHEMA_SEED").unwrap_or_else(|_| "1".into());
    let report = folder.path().join("report.txt");
    let said = File::create(&report).expect("a report");
    let mut run = Command::new(schemathesis)
        .current_dir(folder.path())
        .args(["run", &format!("http://{}/openapi.json", worker.rest().address())])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", &seed])
        // What has the right shape may still be no configuration.
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--max-response-time", "1"])
        .args(["--generation-database", "none", "--warnings", "off", "--no-color", "--continue-on-failure"])
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("a second handle"))
        .stderr(said)
        .spawn()
        .expect("schemathesis starts");
    let ended = wait::until("schemathesis", LIMIT, || {
        // The requests delete it again and again.
        assert!([201, 409].contains(&create()));
        run.try_wait().expect("its state").ok_or_else(|| tail(&report, 3))
    });
    let text = fs::read_to_string(&report).expect("the report");
    assert!(ended.success(), "schemathesis, seed {seed}:\n{text}");
    worker.assert_lives();
    let log = worker.log();
    assert!(!log.contains("Panic"), "the worker panicked:\n{log}");
    let cases = text.lines().find(|line| line.contains(" generated, ")).unwrap_or_default();
    let cases: usize = cases.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(cases > 400, "{cases} requests prove nothing:\n{text}");
    figures::record("openapi", &format!("{cases} requests of seed {seed} by schemathesis, nothing undescribed"));
}
