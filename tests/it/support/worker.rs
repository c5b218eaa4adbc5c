//! The real `pipette` process: started from a properties file, killed, stopped, and started again on the same state.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::rest::Rest;
use super::{free_ports, lines_of, tail, wait};

/// For what takes a moment on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Has sinks read past librdkafka although there is little to read: what is met under load only is to be met here.
pub(crate) const DIRECT: (&str, &str) = ("fetch.direct", "always");

/// A worker and its folder. A running process is killed on drop; a failing test shows its state and the end of its log.
pub(crate) struct Worker {
    properties: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    rest: Rest,
    options: Vec<&'static str>,
    environment: Vec<(&'static str, String)>,
    /// What `ulimit` is told before it starts.
    limit: Option<&'static str>,
}

impl Worker {
    /// Writes the worker's properties into `folder`; `extra` wins over what is set here. Nothing runs yet.
    pub(crate) fn prepare(folder: &Path, bootstrap: &str, extra: &[(&str, &str)]) -> Self {
        let [port] = free_ports();
        let text = format!(
            "bootstrap.servers={bootstrap}
listeners=http://127.0.0.1:{port}
state.dir={}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.flush.interval.ms=200
",
            folder.join("state").display()
        );
        let properties = folder.join("worker.properties");
        fs::write(&properties, text + &lines_of(extra)).expect("the worker's properties");
        Self {
            properties,
            log: folder.join("worker.log"),
            child: None,
            rest: Rest::new(port),
            options: Vec::new(),
            environment: Vec::new(),
            limit: None,
        }
    }

    /// More options of `pipette run`.
    pub(crate) fn with(mut self, options: &[&'static str]) -> Self {
        self.options.extend(options);
        self
    }

    /// Variables of the process.
    pub(crate) fn in_environment(mut self, variables: &[(&'static str, String)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// Has the shell limit the process: `-Sn 256`.
    pub(crate) fn limited(mut self, limit: &'static str) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Starts the process and does not wait for it. Its output goes to the end of the one log.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "the worker runs already");
        let log = File::options().create(true).append(true).open(&self.log).expect("the worker's log");
        let limit = self.limit.map(|limit| format!("ulimit {limit} && ")).unwrap_or_default();
        let child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_pipette"), "run"])
            .args(&self.options)
            .arg(&self.properties)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("pipette starts");
        self.child = Some(child);
    }

    /// Starts the process and waits until REST answers.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.await_rest();
    }

    /// Waits until REST answers, and fails at once when the process has ended.
    pub(crate) fn await_rest(&mut self) {
        wait::until("the worker's REST", PATIENCE, || {
            self.assert_lives();
            match self.rest.get("/") {
                // It does not open to everybody.
                Ok(answer) if [200, 401].contains(&answer.status) => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// Fails with the end of the log when the process has ended by itself.
    pub(crate) fn assert_lives(&mut self) {
        let ended = self.child.as_mut().expect("a running worker").try_wait().expect("the worker's state");
        assert!(ended.is_none(), "the worker ended by itself ({ended:?}):\n{}", tail(&self.log, 40));
    }

    /// SIGKILL: what a power cut or the kernel's memory killer does.
    pub(crate) fn kill(&mut self) {
        // Had it ended by itself, the proof would count a crash that it did not cause.
        self.assert_lives();
        let mut child = self.child.take().expect("a running worker");
        child.kill().expect("the worker is killed");
        child.wait().expect("the worker is gone");
    }

    /// SIGTERM, as a service manager sends it; returns how the process ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} cannot be sent");
    }

    /// Waits for the process to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running worker");
        wait::until("the worker to stop", PATIENCE, || {
            child.try_wait().expect("the worker's state").ok_or_else(|| tail(&self.log, 20))
        })
    }

    /// What it has said since its first start.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Of the running process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running worker").id()
    }

    pub(crate) fn rest(&self) -> &Rest {
        &self.rest
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- what the connectors said: {:?}", self.rest.get("/connectors?expand=status"));
            println!("--- end of {} ---\n{}", self.log.display(), tail(&self.log, 80));
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
