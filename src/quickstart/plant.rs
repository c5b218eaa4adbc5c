//! `--with mqtt`: a Mosquitto of the quick start's own, and a simulated plant that publishes to it.
//!
//! The broker is the one that is installed here; nothing is downloaded. `quickstart.rs` makes the connectors and stops
//! everything. Read next: `progress.rs`.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pipette_api::{ConnectError, Result};

/// The usual port of MQTT.
const PORT: u16 = 1883;
/// Where systems keep it, besides `PATH`, which often has no `sbin`.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/local/sbin"];
/// A broker on loopback takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is published at once, so that a first look finds something.
pub(super) const FIRST: usize = 100;
/// Between two readings after that.
const PAUSE: Duration = Duration::from_millis(500);
const MACHINES: [&str; 3] = ["mixer-1", "mixer-2", "dryer-1"];

/// The broker and its device; both end with it.
pub(super) struct Plant {
    port: u16,
    broker: Child,
    ends: Arc<AtomicBool>,
    device: Option<JoinHandle<()>>,
}

impl Plant {
    /// Starts the broker with everything it keeps in `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let program = installed(&env::var_os("PATH").unwrap_or_default(), &FOLDERS)?;
        let port = free_port()?;
        let config = dir.join("mosquitto.conf");
        let failed = |error| {
            ConnectError::config(format!("Cannot start {} in {}", program.display(), dir.display())).because(error)
        };
        fs::create_dir_all(dir).and_then(|()| fs::write(&config, settings(dir, port))).map_err(failed)?;
        let mut command = Command::new(&program);
        // Ctrl-C is for us, who end it when the connectors have said good-bye.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let broker = command.spawn().map_err(failed)?;
        let mut plant = Self { port, broker, ends: Arc::default(), device: None };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = plant.broker.try_wait().map_err(failed)?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let log = dir.join("log");
                return Err(ConnectError::fatal(format!(
                    "{} does not start; {} may say why",
                    program.display(),
                    log.display()
                )));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(plant)
    }

    /// `mqtt://host:port`.
    pub(super) fn uri(&self) -> String {
        format!("mqtt://{}", self.address())
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Lets the device publish from now on.
    pub(super) fn publish(&mut self) {
        let (port, ends) = (self.port, Arc::clone(&self.ends));
        self.device = Some(std::thread::spawn(move || {
            // A broker that somebody stops meanwhile is what the connector tells of.
            if let Err(error) = device(port, &ends) {
                tracing::warn!(%error, "The simulated device has lost its broker");
            }
        }));
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(device) = self.device.take() {
            device.thread().unpark();
            let _ = device.join();
        }
        // In an orderly way: it saves the connector's session.
        let asked = Command::new("kill").arg(self.broker.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.broker.kill();
        }
        let _ = self.broker.wait();
    }
}

fn installed(path: &OsStr, folders: &[&str]) -> Result<PathBuf> {
    let all = env::split_paths(path).chain(folders.iter().map(PathBuf::from));
    all.map(|folder| folder.join("mosquitto")).find(|program| program.is_file()).ok_or_else(|| {
        ConnectError::config(
            "--with mqtt needs Mosquitto, which is not installed here: apt-get install mosquitto (Debian, Ubuntu), dnf \
             install mosquitto (Fedora), brew install mosquitto (macOS); or start without --with",
        )
    })
}

/// The usual port, or one that is free.
fn free_port() -> Result<u16> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let address = bound.and_then(|socket| socket.local_addr());
    Ok(address.map_err(|error| ConnectError::fatal("No port is free for Mosquitto").because(error))?.port())
}

fn settings(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    // It would give up root's rights, and could not write here.
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let user = if is_root { "user root\n" } else { "" };
    format!(
        "listener {port} {}\nallow_anonymous true\n{user}persistence true\npersistence_location {dir}/\nlog_dest file \
         {dir}/log\n",
        Ipv4Addr::LOCALHOST
    )
}

/// Publishes readings with quality 1, each acknowledged before the next.
fn device(port: u16, ends: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // CONNECT in MQTT 3.1.1 as "device", without a session and without keep-alive; CONNACK.
    stream.write_all(b"\x10\x12\x00\x04MQTT\x04\x02\x00\x00\x00\x06device")?;
    stream.read_exact(&mut [0; 4])?;
    for number in 0.. {
        if number >= FIRST {
            std::thread::park_timeout(PAUSE);
        }
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let (topic, payload) = reading(number);
        stream.write_all(&publish(&topic, &payload, number))?;
        stream.read_exact(&mut [0; 4])?;
    }
    // DISCONNECT.
    stream.write_all(&[0xe0, 0])
}

/// What a machine measures: the topic and its JSON.
fn reading(number: usize) -> (String, String) {
    let machine = MACHINES[number % MACHINES.len()];
    let turn = f64::from(u32::try_from(number / MACHINES.len()).unwrap_or(0));
    let temperature = 60.0 + 5.0 * (turn / 20.0).sin();
    let payload = format!(r#"{{"machine":"{machine}","reading":{number},"temperature":{temperature:.2}}}"#);
    (format!("plant/{machine}/temperature"), payload)
}

/// A PUBLISH of less than 128 bytes.
fn publish(topic: &str, payload: &str, number: usize) -> Vec<u8> {
    let byte = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
    let id = u16::try_from(number % usize::from(u16::MAX)).unwrap_or(0) + 1;
    let mut packet = vec![0x32, byte(2 + topic.len() + 2 + payload.len()), 0, byte(topic.len())];
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(payload.as_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_broker_is_told_how_to_get_one() {
        let (none, some) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(some.path().join("mosquitto"), "").unwrap();
        let folder = some.path().to_str().unwrap();
        assert_eq!(installed(none.path().as_os_str(), &[folder]).unwrap(), some.path().join("mosquitto"));
        let error = installed(none.path().as_os_str(), &[]).unwrap_err().to_string();
        assert!(error.contains("not installed here: apt-get install mosquitto"), "{error}");
    }

    #[test]
    fn readings_fit_a_packet_of_one_byte_of_length() {
        for number in [0, 1, 2, 99, 1_000_000] {
            let (topic, payload) = reading(number);
            let packet = publish(&topic, &payload, number);
            assert!(packet.len() < 130 && usize::from(packet[1]) == packet.len() - 2 && packet[1] < 128, "{payload}");
            assert!(serde_json::from_str::<serde_json::Value>(&payload).unwrap()["temperature"].is_f64());
        }
    }
}
