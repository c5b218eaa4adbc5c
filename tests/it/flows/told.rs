//! What is told of a failure: one sentence that says it all, the same in parts, and log lines that say whose they are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::worker::Worker;
use crate::support::{free_ports, tail, topic, wait};

const PATIENCE: Duration = Duration::from_secs(30);

/// `pipette broker` as a process of its own, which can be stopped and killed.
pub(super) struct BrokerProcess {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl BrokerProcess {
    pub(super) fn start(folder: &Path) -> Self {
        let [port] = free_ports();
        let mut broker = Self { folder: folder.to_owned(), port, child: None };
        broker.launch();
        broker
    }

    pub(super) fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("broker.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipette"));
        command.args(["broker", "--listen", &self.address(), "--dir"]).arg(self.folder.join("broker"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        wait::until("the broker", PATIENCE, || match std::net::TcpStream::connect(self.address()) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}: {}", tail(&self.folder.join("broker.log"), 5))),
        });
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The status of a task that has failed.
fn failed(worker: &Worker, name: &str) -> Value {
    wait::until(&format!("the failure of {name}"), PATIENCE, || {
        let status = worker.rest().get(&format!("/connectors/{name}/status")).unwrap().body;
        if status["tasks"][0]["state"] == "FAILED" { Ok(status) } else { Err(status.to_string()) }
    })
}

fn wait_for_line(log: &Path, with: &str) {
    wait::until(with, PATIENCE, || match fs::read_to_string(log).unwrap() {
        text if text.contains(with) => Ok(()),
        text => Err(text.lines().last().unwrap_or_default().to_owned()),
    });
}

#[test]
fn a_failure_is_one_sentence_and_every_line_of_the_log_says_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]).with(&["--log", "debug"]);
    worker.start();
    let create = |name: &str, config: Value| {
        let made = worker.rest().put(&format!("/connectors/{name}/config"), &config).unwrap();
        assert_eq!(made.status, 201, "{made:?}");
    };
    let input = folder.path().join("in.txt");
    fs::write(&input, "no JSON at all\n").unwrap();
    create("lab-in", json!({"connector.class": "FileStreamSource", "file": input, "topic": "t"}));
    wait::until("the line", PATIENCE, || match topic::values(&broker.address(), "t") {
        lines if lines.len() == 1 => Ok(()),
        lines => Err(format!("{lines:?}")),
    });
    // Its plugin has something to say of a file.
    let inbox = folder.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    fs::write(inbox.join("a.csv"), "x,y\n1,2\n").unwrap();
    let files = json!({"connector.class": "LabFilesSource", "topic": "f", "input.path": inbox, "format": "csv",
        "cleanup.policy": "NONE"});
    create("lab-files", files);
    let log = folder.path().join("worker.log");
    wait_for_line(&log, "Reading a file");
    let sink = json!({
        "connector.class": "FileStreamSink", "file": folder.path().join("out.txt"), "topics": "t",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "errors.log.enable": "true", "errors.log.include.messages": "true",
    });
    create("lab-out", sink);
    let status = failed(&worker, "lab-out");
    let task = &status["tasks"][0];
    let sentence = task["trace"].as_str().unwrap().lines().next().unwrap();
    assert!(
        sentence.starts_with("Task lab-out-0 failed in value converter on the record at t-0 offset 0: "),
        "{sentence}"
    );
    assert!(sentence.contains("Choose the converter that fits these records"), "{sentence}");
    let error = &task["error"];
    let parts =
        ["kind", "connector", "task", "stage", "topic", "partition", "offset", "may_pass"].map(|key| &error[key]);
    let expected = json!(["data", "lab-out", 0, "value converter", "t", 0, 0, false]);
    assert_eq!(json!(parts), expected, "{error}");
    assert!(
        sentence.contains(error["cause"].as_str().unwrap()) && sentence.contains(error["action"].as_str().unwrap())
    );

    broker.kill();
    wait_for_line(&log, "Kafka is not well");
    wait_for_line(&log, "Kafka client");
    worker.stop();
    let text = fs::read_to_string(&log).unwrap();
    let begin = text.find("Connector starts").map(|at| text[..at].rfind('\n').map_or(0, |at| at + 1)).unwrap();
    let end = text.find("Stopping; a second signal").map(|at| text[..at].rfind('\n').unwrap()).unwrap();
    let lines: Vec<&str> = text[begin..end].lines().collect();
    let stray: Vec<&&str> = lines.iter().filter(|line| !line.contains("connector=lab-")).collect();
    assert!(stray.is_empty(), "{stray:#?}");
    let of_task = |what: &str| lines.iter().any(|line| line.contains(what) && line.contains("task=0"));
    for what in ["Reading a file", "Task starts", "Task failed", "A record is bad", "Kafka is not well", "Kafka client"]
    {
        assert!(of_task(what), "{what} in {lines:#?}");
    }
}
