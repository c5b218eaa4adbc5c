//! The embedded single-node broker: Kafka's protocol over plain files.
//!
//! A default for one machine: quick starts, edge boxes, tests. Any Kafka client from 0.11 on can use it. What it is
//! not: a cluster. There is one copy of the data, no TLS and no login, and it keeps every record until it is deleted on
//! request: retention and compaction settings are kept and shown, but not carried out. Beyond one machine, run Apache
//! Kafka.
//!
//! The worker meets it only through its address. Reading order: this file, `server` (connections), `api` (requests),
//! `node` (the state they change), `group`, `transaction` and `coordinator`, `storage`. One thread owns all state; a second one exists while an fsync
//! runs, so that one slow disk write does not hold up everybody.

mod api;
mod coordinator;
pub mod error;
mod group;
mod node;
mod server;
mod storage;
mod transaction;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::BrokerError;
use crate::node::Node;

/// How long `stop` waits for the last answers and the last fsync.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What a broker is started with. Take [`BrokerConfig::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The data folder; created if it is missing. One broker at a time may use it.
    pub dir: PathBuf,
    /// Where to listen; port 0 takes a free one, see [`Broker::address`].
    pub listen: SocketAddr,
    /// Answer a producer, or a change such as a new topic, only when it would survive a power cut. Without it what
    /// was answered survives the end of the process, however sudden, but not of the machine.
    pub fsync: bool,
    /// Create a topic when a client first asks for it (and the client does not forbid it).
    pub auto_create_topics: bool,
    /// Partitions of topics created without a number.
    pub default_partitions: i32,
    /// Allow an address other machines can reach, although everybody there could then read and delete everything.
    pub allow_remote: bool,
    /// Connections beyond this are closed at once.
    pub max_connections: usize,
    /// A connection that sends a larger request is closed. Also the most that one connection's request can occupy.
    pub max_request_bytes: usize,
    /// The most records that one answer to a consumer carries, whatever it asks for.
    pub max_fetch_bytes: usize,
    /// How long an empty group waits for more members after the first, so that those that start together share one
    /// round.
    pub first_rebalance_delay: Duration,
    /// The longest time a producer may ask for to finish a transaction; after its time a transaction is aborted.
    pub max_transaction_timeout: Duration,
    /// A transactional id that is not used for this long is forgotten: its next producer starts with a new producer id.
    pub transactional_id_expiration: Duration,
    /// Transactional ids known at a time; a producer with one more is refused.
    pub max_transactional_ids: usize,
    /// A partition forgets an idempotent producer that has not written to it for this long.
    pub producer_id_expiration: Duration,
}

impl BrokerConfig {
    /// Port 9092 on loopback, `fsync` on, topics created when asked for, one partition each.
    pub fn new(dir: impl Into<PathBuf>) -> BrokerConfig {
        BrokerConfig {
            dir: dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            fsync: true,
            auto_create_topics: true,
            default_partitions: 1,
            allow_remote: false,
            max_connections: 512,
            max_request_bytes: 100 * 1024 * 1024,
            max_fetch_bytes: 16 * 1024 * 1024,
            first_rebalance_delay: Duration::from_millis(100),
            max_transaction_timeout: Duration::from_mins(15),
            transactional_id_expiration: Duration::from_hours(7 * 24),
            max_transactional_ids: 10_000,
            producer_id_expiration: Duration::from_hours(24),
        }
    }

    /// The same on any free port of loopback, for a broker that nobody knows beforehand.
    pub fn on_any_port(dir: impl Into<PathBuf>) -> BrokerConfig {
        BrokerConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Self::new(dir) }
    }
}

/// A running broker. Stops when dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    stopped: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Checks the folder, reads what is in it, listens, and serves on a thread of its own: the caller needs no runtime.
    /// When this returns, clients can connect.
    pub fn start(config: BrokerConfig) -> Result<Broker, BrokerError> {
        if !config.listen.ip().is_loopback() && !config.allow_remote {
            return Err(BrokerError::Remote { address: config.listen });
        }
        let node = Node::open(&config)?;
        let listener = TcpListener::bind(config.listen).map_err(|error| error::cannot_listen(config.listen, error))?;
        let unusable = |error| BrokerError::Listen { address: config.listen, error };
        let address = listener.local_addr().map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("pipette-fsync")
            .build()
            .map_err(BrokerError::Runtime)?;
        let (stop, stopping) = watch::channel(false);
        let (done, stopped) = mpsc::channel();
        let serve = move || {
            runtime.block_on(server::serve(listener, node, config, stopping));
            let _ = done.send(());
        };
        let thread =
            std::thread::Builder::new().name("pipette-broker".into()).spawn(serve).map_err(BrokerError::Runtime)?;
        tracing::info!(%address, "Broker started");
        tracing::info!(
            "This broker is one node for one machine: no replication, no TLS, and nothing is deleted by age or size. \
             Beyond one machine run Apache Kafka"
        );
        Ok(Broker { address, stop, stopped, thread: Some(thread) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops taking requests and answers those under way. Takes at most five seconds;
    /// a disk that hangs for longer is left behind with its thread.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.stop.send_replace(true);
        if self.stopped.recv_timeout(STOP_WITHIN) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(address = %self.address, "Broker did not stop in time");
            return;
        }
        if thread.join().is_err() {
            tracing::error!(address = %self.address, "Broker ended in a panic");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shut_down();
    }
}
