//! Apache's own Connect worker, distributed, from its jars.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::java::JavaProcess;
use super::kafka::class_path;
use super::rest::Rest;
use super::{free_ports, lines_of, tail, wait};

/// The keys of a distributed worker of either kind, on topics of its own.
pub(crate) fn distributed(group: &str) -> Vec<(String, String)> {
    let keys = [
        ("group.id", "*"),
        ("config.storage.topic", "*-configs"),
        ("offset.storage.topic", "*-offsets"),
        ("status.storage.topic", "*-status"),
        ("config.storage.replication.factor", "1"),
        ("offset.storage.replication.factor", "1"),
        ("status.storage.replication.factor", "1"),
        ("offset.storage.partitions", "1"),
        ("status.storage.partitions", "1"),
    ];
    keys.map(|(key, value)| (key.to_owned(), value.replace('*', group))).into()
}

/// A running worker. It and its folder are gone when this is dropped, or when the test process ends.
pub(crate) struct ApacheConnect {
    process: JavaProcess,
    log: PathBuf,
    rest: Rest,
}

impl ApacheConnect {
    /// Starts it in `folder`, which goes with it, and waits until REST answers; `extra` wins over what is set here.
    pub(crate) fn start(folder: &Path, bootstrap: &str, extra: &[(&str, &str)]) -> Self {
        Self::with(folder, bootstrap, extra, &[])
    }

    /// The same with options of its JVM.
    pub(crate) fn with(folder: &Path, bootstrap: &str, extra: &[(&str, &str)], options: &[&str]) -> Self {
        let worker = Self::launch(folder, bootstrap, extra, options);
        wait::until("Apache's worker", Duration::from_mins(2), || {
            worker.assert_lives();
            match worker.rest.get("/health") {
                // It does not open to everybody.
                Ok(answer) if [200, 401].contains(&answer.status) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        worker
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(folder: &Path, bootstrap: &str, extra: &[(&str, &str)]) -> Self {
        Self::launch(folder, bootstrap, extra, &[])
    }

    fn launch(folder: &Path, bootstrap: &str, extra: &[(&str, &str)], options: &[&str]) -> Self {
        fs::create_dir_all(folder).expect("a folder for Apache's worker");
        let [port] = free_ports();
        let text = format!(
            "bootstrap.servers={bootstrap}
listeners=http://127.0.0.1:{port}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.flush.interval.ms=200
plugin.discovery=service_load
"
        );
        let file = folder.join("worker.properties");
        fs::write(&file, text + &lines_of(extra)).expect("the settings of Apache's worker");
        let log = folder.join("worker.log");
        let class = "org.apache.kafka.connect.cli.ConnectDistributed";
        let options = [&["-Xms128m", "-Xmx1g"], options].concat();
        let process = JavaProcess::start(folder, &log, &options, &class_path(), class, &file);
        Self { process, log, rest: Rest::new(port) }
    }

    pub(crate) fn rest(&self) -> &Rest {
        &self.rest
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM; returns when it has ended.
    pub(crate) fn stop(self) {
        let sent = Command::new("kill").arg(self.process.pid.to_string()).status();
        assert!(sent.expect("kill runs").success(), "Apache's worker cannot be stopped");
        self.await_end();
    }

    /// Waits until it has ended, of itself or because it was told to.
    pub(crate) fn await_end(&self) {
        wait::until("the end of Apache's worker", Duration::from_mins(1), || {
            if self.process.lives() { Err(tail(&self.log, 20)) } else { Ok(()) }
        });
    }

    pub(crate) fn assert_lives(&self) {
        assert!(self.process.lives(), "Apache's worker ended:\n{}", tail(&self.log, 40));
    }
}

impl Drop for ApacheConnect {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- what Apache's worker said ---\n{}", tail(&self.log, 80));
        }
    }
}
