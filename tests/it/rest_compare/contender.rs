//! Who is asked: the worker of this tree and Apache's, both distributed, on topics and groups of their own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::answer::{Chosen, normalised};
use super::clients;
use super::table::{Stage, Step};
use super::wire;
use crate::support::connect::{ApacheConnect, distributed};
use crate::support::worker::Worker;

/// What sources read: 14 bytes.
pub(super) const LINES: &str = "one\ntwo\nthree\n";

const MODULE: &str = "org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule";

/// A worker that runs.
pub(crate) struct Contender {
    folder: PathBuf,
    address: String,
    /// Ends the names of its connectors and topics.
    letter: char,
    process: Process,
}

enum Process {
    Ours { _worker: Worker },
    Java(ApacheConnect),
}

impl Contender {
    /// The binary of this build.
    pub(crate) fn ours(folder: &Path, bootstrap: &str, stage: Stage) -> Self {
        let folder = prepared(folder, "pipette");
        let group = format!("{}-pipette", stage.name());
        let keys: Vec<(String, String)> = settings(&group, stage);
        let mut keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        keys.push(("compat.strict", "true"));
        let mut worker = Worker::prepare(&folder, bootstrap, &keys).in_environment(&[("KAFKA_OPTS", logins(&folder))]);
        worker.start();
        Self {
            address: worker.rest().address().to_owned(),
            folder,
            letter: 'p',
            process: Process::Ours { _worker: worker },
        }
    }

    /// Apache's worker, from its jars.
    pub(crate) fn java(folder: &Path, bootstrap: &str, stage: Stage) -> Self {
        let folder = prepared(folder, "java");
        let keys = settings(&format!("{}-java", stage.name()), stage);
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let java = ApacheConnect::with(&folder, bootstrap, &keys, &[&logins(&folder)]);
        Self { address: java.rest().address().to_owned(), folder, letter: 'j', process: Process::Java(java) }
    }

    /// The answer to a step of the n-th story.
    pub(crate) fn ask(&self, number: u64, step: &Step) -> Json {
        let chosen = Chosen {
            token: format!("q{number}{}", self.letter),
            folder: self.folder.display().to_string(),
            address: self.address.clone(),
        };
        let filled = step.with(|text| chosen.fill(text));
        if clients::is_command(step) {
            return normalised(step, &clients::give(&self.address, &filled), &chosen);
        }
        match wire::send(&self.address, &filled) {
            Ok(reply) => normalised(step, &reply, &chosen),
            Err(error) => {
                self.assert_lives();
                panic!("{}: {error}", step.line)
            }
        }
    }

    /// Takes away what a story has left.
    pub(crate) fn clear(&self, number: u64) {
        let token = format!("q{number}{}", self.letter);
        let Ok(list) = wire::send(&self.address, &Step::parse("GET /connectors")) else { return };
        let names: Vec<String> = serde_json::from_str(&list.body).unwrap_or_default();
        for name in names.iter().filter(|name| name.contains(&token)) {
            let path = name.bytes().fold(String::new(), |path, byte| path + &format!("%{byte:02X}"));
            // Apache's cannot reach all of them.
            drop(wire::send(&self.address, &Step::parse(&format!("DELETE /connectors/{path}"))));
        }
    }

    fn assert_lives(&self) {
        if let Process::Java(java) = &self.process {
            java.assert_lives();
        }
    }
}

/// What tells a worker where its log-ins are.
fn logins(folder: &Path) -> String {
    format!("-Djava.security.auth.login.config={}/jaas.conf", folder.display())
}

fn prepared(folder: &Path, name: &str) -> PathBuf {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).expect("a folder for the worker");
    fs::write(folder.join("in.txt"), LINES).expect("something to read");
    fs::write(folder.join("users.properties"), "ann=s3cret\nbob=\n").expect("users");
    let users = folder.join("users.properties");
    let entry = format!("KafkaConnect {{ {MODULE} required file=\"{}\"; }};", users.display());
    fs::write(folder.join("jaas.conf"), entry).expect("a login configuration");
    folder
}

fn settings(group: &str, stage: Stage) -> Vec<(String, String)> {
    let own = stage.settings().iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    distributed(group).into_iter().chain(own).collect()
}
