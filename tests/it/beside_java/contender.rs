//! Who is measured: the worker of this tree and Apache's, each one process for the whole run, spoken to by REST.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::measure::Stage;
use super::report::Who;
use crate::support::java::JavaProcess;
use crate::support::kafka::class_path;
use crate::support::rest::Rest;
use crate::support::worker::Worker;
use crate::support::{free_ports, tail, wait};

/// What `connect-standalone.sh` of Apache's distribution gives the JVM.
pub(super) const JVM: &[&str] = &[
    "-server",
    "-Xms256M",
    "-Xmx2G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

/// A worker that runs.
pub(super) enum Contender {
    Ours(Worker),
    Java(JavaProcess, Rest, PathBuf),
}

/// Of Java's clients, what makes a difference, below the head of each in the worker's log.
const CLIENT_KEYS: &[(&str, &[&str])] = &[
    (
        "ProducerConfig values",
        &[
            "acks",
            "batch.size",
            "buffer.memory",
            "compression.type",
            "enable.idempotence",
            "linger.ms",
            "max.in.flight.requests.per.connection",
        ],
    ),
    ("ConsumerConfig values", &["fetch.max.bytes", "fetch.min.bytes", "max.partition.fetch.bytes", "max.poll.records"]),
];

impl Contender {
    /// The binary of this build, with the sink that discards.
    pub(super) fn ours(stage: &Stage) -> Self {
        let folder = stage.folder.join("pipette");
        fs::create_dir_all(&folder).expect("a folder for Pipette");
        let usual = [("offset.flush.interval.ms", "60000")];
        let mut worker = Worker::prepare(&folder, &stage.bootstrap, &usual).with(&["--bench-plugins"]);
        worker.start();
        Self::Ours(worker)
    }

    /// Apache's worker with the same sink.
    pub(super) fn java(stage: &Stage) -> Self {
        let folder = stage.folder.join("java");
        let classes = folder.join("classes");
        fs::create_dir_all(&classes).expect("a folder for Java");
        compile(&classes);
        let [port] = free_ports();
        let settings = folder.join("worker.properties");
        let text = format!(
            "bootstrap.servers={}
listeners=http://127.0.0.1:{port}
offset.storage.file.filename={}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
plugin.discovery=service_load
",
            stage.bootstrap,
            folder.join("offsets").display()
        );
        fs::write(&settings, text).expect("the settings of Apache's worker");
        let log = folder.join("worker.log");
        let class_path = format!("{}:{}", class_path(), classes.display());
        let class = "org.apache.kafka.connect.cli.ConnectStandalone";
        let process = JavaProcess::start(&folder, &log, JVM, &class_path, class, &settings);
        let rest = Rest::new(port);
        wait::until("Apache's worker", Duration::from_secs(90), || {
            assert!(process.lives(), "Apache's worker ended:\n{}", tail(&log, 40));
            match rest.get("/connectors") {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        Self::Java(process, rest, log)
    }

    /// What Apache's worker has told its clients, as its log has it.
    pub(super) fn clients_of_java(&self) -> String {
        let Self::Java(_, _, log) = self else { return String::new() };
        let log = fs::read_to_string(log).expect("the log of Apache's worker");
        let told = CLIENT_KEYS.iter().flat_map(|(head, keys)| {
            let block: Vec<&str> = log.lines().skip_while(|line| !line.contains(head)).collect();
            let value =
                move |key: &str| block.iter().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" = "));
            keys.iter().filter_map(move |key| Some(format!("{key}={}", value(key)?)))
        });
        told.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn who(&self) -> Who {
        match self {
            Self::Ours(_) => Who::Ours,
            Self::Java(..) => Who::Java,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.who().name()
    }

    pub(super) fn pid(&self) -> String {
        match self {
            Self::Ours(worker) => worker.pid().to_string(),
            Self::Java(process, ..) => process.pid.to_string(),
        }
    }

    pub(super) fn rest(&self) -> &Rest {
        match self {
            Self::Ours(worker) => worker.rest(),
            Self::Java(_, rest, _) => rest,
        }
    }
}

fn compile(classes: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/src/DiscardSinkConnector.java");
    let run = Command::new("javac").args(["-cp", &class_path(), "-d"]).arg(classes).arg(source).output();
    let output =
        run.unwrap_or_else(|error| panic!("javac does not start ({error}): apt-get install default-jdk-headless"));
    assert!(output.status.success(), "the sink does not compile: {}", String::from_utf8_lossy(&output.stderr));
    let services = classes.join("META-INF/services");
    fs::create_dir_all(&services).expect("a folder for the list of plugins");
    let list = services.join("org.apache.kafka.connect.sink.SinkConnector");
    fs::write(list, "io.pipette.bench.DiscardSinkConnector\n").expect("the list of plugins");
}
