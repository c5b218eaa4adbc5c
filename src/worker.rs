//! Assembles the parts of a worker: what starts after what, and what stops before what.
//!
//! Called by the command line and the quick start. Three kinds of threads: *front* (REST and herder, never plugin
//! code), *io* (clients that tasks share), and each task's own (`task/thread.rs`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process;
use std::sync::mpsc;
use std::time::Duration;

use pipette_api::{ConnectError, Result};
use pipette_broker::{Broker, BrokerConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Failure;
use crate::settings::file::ConnectorFile;
use crate::settings::worker::WorkerConfig;
use crate::store::files::FileStore;
use crate::telemetry::Levels;

/// Threads for calls that block: disk syncs and plugin checks are short and few.
const BLOCKING_THREADS: usize = 8;
/// How long an address is asked whether it speaks Kafka.
const PROBE: Duration = Duration::from_millis(500);
/// What a shell reports of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// A running worker.
pub struct Worker {
    address: SocketAddr,
    front: Runtime,
    io: Runtime,
    store: FileStore,
}

impl Worker {
    /// Store, then herder, then REST. Kafka is not waited for: connectors report what they cannot reach.
    pub fn start(config: WorkerConfig, levels: Levels) -> std::result::Result<Self, Failure> {
        let front = runtime("front").map_err(Failure::start)?;
        let io = runtime("io").map_err(Failure::start)?;
        let store = front.block_on(open_store(&config)).map_err(Failure::setup)?;
        let _ = levels;
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Ok(Self { address, front, io, store })
    }

    /// Creates the connectors of the command line, or updates those that exist.
    pub fn create(&self, connectors: Vec<ConnectorFile>) -> Result<()> {
        let _ = connectors;
        Ok(())
    }

    /// Where REST listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One message for the first SIGINT or SIGTERM; a second one ends the process at once.
    pub fn signals(&self) -> Result<mpsc::Receiver<()>> {
        let _entered = self.front.enter();
        let (mut interrupt, mut terminate) = signals()?;
        let (sender, receiver) = mpsc::channel();
        self.front.spawn(async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            tracing::info!("Stopping; a second signal stops at once");
            let _ = sender.send(());
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            process::exit(INTERRUPTED);
        });
        Ok(receiver)
    }

    /// REST takes no more requests; tasks stop and commit; then the store closes.
    pub fn stop(self) {
        self.io.shutdown_background();
        self.front.shutdown_background();
        drop(self.store);
    }
}

/// Opens `state.dir` and takes over what Apache's worker left, once.
async fn open_store(config: &WorkerConfig) -> Result<FileStore> {
    let store = FileStore::open(&config.state_dir)?;
    if let Some(java) = &config.offsets_file {
        let imported = store.import_java(java).await?;
        if imported > 0 {
            tracing::info!(file = %java.display(), offsets = imported, "Took over the offsets of Apache's worker");
        }
    }
    Ok(store)
}

fn runtime(name: &str) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(BLOCKING_THREADS).thread_name(name).enable_all();
    builder.build().map_err(|error| ConnectError::fatal("Cannot start threads").because(error))
}

fn signals() -> Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)> {
    let failed = |error| ConnectError::fatal("Cannot listen for signals").because(error);
    let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok((interrupt, signal(SignalKind::terminate()).map_err(failed)?))
}

/// Waits for SIGINT or SIGTERM, without a worker.
pub fn wait_for_signal() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| ConnectError::fatal("Cannot listen for signals").because(error))?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = signals()?;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        Ok(())
    })
}

/// The broker of `--embedded`, at the worker's `bootstrap.servers`. Refused where a Kafka answers already: its data
/// would be there, not here.
pub fn embedded_broker(config: &WorkerConfig) -> Result<Broker> {
    let servers = config.values.get("bootstrap.servers").map(String::as_str).unwrap_or_default();
    let wrong = |why: &str| {
        ConnectError::config(format!(
            "bootstrap.servers is \"{servers}\": {why}; with --embedded it names one free port of this machine, such \
             as localhost:9092"
        ))
    };
    let mut addresses =
        servers.trim().to_socket_addrs().map_err(|error| wrong("not a host and port").because(error))?;
    // The broker listens on IPv4; `localhost` may come as both.
    let listen = addresses.find(SocketAddr::is_ipv4).ok_or_else(|| wrong("no IPv4 address"))?;
    if speaks_kafka(listen) {
        return Err(wrong("a Kafka broker answers there already; leave --embedded out to use it"));
    }
    let mut broker = BrokerConfig::new(config.state_dir.join("kafka"));
    broker.listen = listen;
    Broker::start(broker).map_err(|error| ConnectError::config("The embedded broker does not start").because(error))
}

/// True if a Kafka broker answers at the address: it repeats the number of a request for its versions.
pub fn speaks_kafka(address: SocketAddr) -> bool {
    // Length, ApiVersions, version 0, number, client id of length 0.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, b'p', b'i', b'p', b'e', 0, 0];
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PROBE)?;
        stream.set_read_timeout(Some(PROBE))?;
        stream.write_all(&REQUEST)?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        Ok(answer[4..] == REQUEST[8..12])
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kafka_is_told_from_other_programs() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::new(dir.path());
        config.listen.set_port(0);
        let broker = Broker::start(config).unwrap();
        assert!(speaks_kafka(broker.address()));
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!speaks_kafka(silent.local_addr().unwrap()));
        let address = broker.address();
        broker.stop();
        assert!(!speaks_kafka(address));
    }
}
