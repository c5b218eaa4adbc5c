//! A real Mosquitto on a free port of the loopback, with its data in a folder of its own; and its two small clients, to
//! talk to it without this crate.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test takes what it needs")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

/// How long the broker may take to start, and anything else to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const INSTALL: &str =
    "Mosquitto is missing: as root run apt-get install -y mosquitto mosquitto-clients, or ./test --fetch";

/// A running broker; it ends with this value.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    folder: TempDir,
    broker: Option<Child>,
}

impl Mosquitto {
    /// Anyone may do anything.
    pub(crate) fn start() -> Self {
        Self::with("allow_anonymous true\n")
    }

    /// With these lines in its configuration.
    pub(crate) fn with(lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the broker");
        // Mosquitto gives up root's rights when it may, and then could not write here.
        let user = if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
            "user root\n"
        } else {
            ""
        };
        let mut broker = Self { port: free_port(), folder, broker: None };
        let config = format!(
            "listener {} 127.0.0.1\n{user}persistence true\npersistence_location {}/\nautosave_interval 1\n\
             max_queued_messages 0\nlog_dest file {}\n{lines}",
            broker.port,
            broker.folder.path().display(),
            broker.path("log").display(),
        );
        fs::write(broker.path("conf"), config).expect("the broker's configuration");
        broker.run();
        broker
    }

    /// A file in the broker's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn uri(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Starts it again, with what it has saved.
    pub(crate) fn run(&mut self) {
        let program =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("mosquitto"));
        command.arg("-c").arg(self.path("conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.broker = Some(command.spawn().expect(INSTALL));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.broker.as_mut().and_then(|broker| broker.try_wait().ok().flatten());
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < DEADLINE, "Mosquitto does not start: {ended:?}\n{}", log());
            std::thread::yield_now();
        }
    }

    /// Ends it in an orderly way: it saves what it has.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        self.ended();
    }

    /// It dies where it stands.
    pub(crate) fn kill(&mut self) {
        self.signal("-KILL");
        self.ended();
    }

    pub(crate) fn signal(&self, signal: &str) {
        if let Some(broker) = &self.broker {
            let sent = Command::new("kill").arg(signal).arg(broker.id().to_string()).status();
            assert!(sent.is_ok_and(|status| status.success()), "the broker gets no {signal}");
        }
    }

    /// When it saved what it has for the last time; long ago when it never did.
    pub(crate) fn saved(&self) -> SystemTime {
        let database = fs::metadata(self.path("mosquitto.db"));
        database.and_then(|database| database.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn ended(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.wait().expect("the broker's end");
        }
    }

    /// What the broker says it has done.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Publishes messages, one per line, and returns when the broker has acknowledged them all.
    pub(crate) fn publish(&self, topic: &str, qos: u8, payloads: &[String]) {
        let mut lines = String::new();
        for payload in payloads {
            let _ = writeln!(lines, "{payload}");
        }
        self.publish_with(&["-t", topic, "-q", &qos.to_string(), "-l"], lines.as_bytes());
    }

    /// Publishes with arguments of `mosquitto_pub`.
    pub(crate) fn publish_with(&self, arguments: &[&str], input: &[u8]) {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(arguments);
        let mut client = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(INSTALL);
        let _ = client.stdin.take().map(|mut stdin: ChildStdin| stdin.write_all(input));
        let outcome = client.wait_with_output().expect("the end of mosquitto_pub");
        assert!(outcome.status.success(), "mosquitto_pub: {}", String::from_utf8_lossy(&outcome.stderr));
    }

    /// Makes a session that keeps what comes, as a client leaves it that was subscribed once.
    pub(crate) fn session(&self, client_id: &str, filter: &str) {
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-c", "-i", client_id, "-q", "2", "-t", filter, "-E"];
        let outcome = Command::new("mosquitto_sub").args(arguments).output().expect(INSTALL);
        assert!(outcome.status.success(), "mosquitto_sub: {}", String::from_utf8_lossy(&outcome.stderr));
    }

    /// A client that writes down what comes, subscribed when this returns.
    pub(crate) fn listen(&self, filter: &str) -> Listener {
        let port = self.port.to_string();
        // %x is the payload in hexadecimal digits, whatever is in it.
        let arguments =
            ["-h", "127.0.0.1", "-p", &port, "-t", filter, "-q", "2", "-F", "%t %x", "-d", "-c", "-i", "listener"];
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg("mosquitto_sub").args(arguments);
        let mut client = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect(INSTALL);
        let (lines, received) = std::sync::mpsc::channel();
        let output = BufReader::new(client.stdout.take().expect("its output"));
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut listener = Listener { client, received, kept: Vec::new() };
        listener.until("a subscription", |line| line.starts_with("Subscribed"));
        listener
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if self.broker.is_some() {
            self.kill();
        }
    }
}

/// See [`Mosquitto::listen`].
pub(crate) struct Listener {
    client: Child,
    received: std::sync::mpsc::Receiver<String>,
    kept: Vec<(String, Vec<u8>)>,
}

impl Listener {
    /// Waits for a line.
    fn until(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) {
        let begun = Instant::now();
        loop {
            let left = DEADLINE.checked_sub(begun.elapsed()).unwrap_or_else(|| panic!("no {what} within {DEADLINE:?}"));
            let line =
                self.received.recv_timeout(left).unwrap_or_else(|_| panic!("no {what}: {} so far", self.kept.len()));
            self.kept.extend(message(&line));
            if wanted(&line) {
                return;
            }
        }
    }

    /// Waits for a message with that payload, and answers all.
    pub(crate) fn until_payload(&mut self, payload: &[u8]) -> Vec<(String, Vec<u8>)> {
        while !self.kept.iter().any(|(_, kept)| kept == payload) {
            self.until("message", |line| message(line).is_some());
        }
        self.kept.clone()
    }

    /// Waits until that many messages have come, and answers all.
    pub(crate) fn messages(&mut self, count: usize) -> Vec<(String, Vec<u8>)> {
        while self.kept.len() < count {
            self.until("message", |line| message(line).is_some());
        }
        self.kept.extend(self.received.try_iter().filter_map(|line| message(&line)));
        self.kept.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// `topic payload`, the payload in hexadecimal digits; what `-d` adds begins with a capital or holds more words.
fn message(line: &str) -> Option<(String, Vec<u8>)> {
    let (topic, digits) = line.split_once(' ')?;
    let digits = digits.as_bytes();
    if digits.len() % 2 != 0 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    Some((topic.to_owned(), digits.chunks(2).map(byte).collect::<Option<_>>()?))
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a free port").port()
}
