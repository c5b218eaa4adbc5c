//! The sockets that REST is reached by: those of `listeners`, and those of `admin.listeners` for loggers.
//!
//! `worker.rs` opens them before anything else starts, so that a taken port ends the start, and serves on them at its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use pipette_api::{ConnectError, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::tls::Tls;
use super::{Door, Rest, serve};
use crate::settings::rest::Admin;
use crate::settings::worker::{Listener, WorkerConfig};

/// Bound sockets.
pub struct Doors {
    main: Vec<Bound>,
    admin: Vec<Bound>,
}

struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Doors {
    /// Binds every address of the worker file.
    pub fn open(config: &WorkerConfig) -> Result<Self> {
        let bind = |key: &str, listeners: &[Listener]| -> Result<Vec<Bound>> {
            listeners.iter().map(|listener| Bound::to(key, listener, config)).collect()
        };
        let admin: &[Listener] = if let Admin::At(listeners) = &config.rest.admin { listeners } else { &[] };
        Ok(Self { main: bind("listeners", &config.listeners)?, admin: bind("admin.listeners", admin)? })
    }

    /// Where the n-th of `listeners` was bound.
    pub fn address(&self, number: usize) -> SocketAddr {
        self.main[number].address
    }

    /// Serves on the runtime this is called on.
    pub fn serve(self, rest: &Rest) -> Served {
        let (closing, closed) = watch::channel(());
        let mut serving = JoinSet::new();
        let main = self.main.into_iter().map(|bound| (bound, Door::Main));
        for (Bound { socket, tls, .. }, door) in main.chain(self.admin.into_iter().map(|bound| (bound, Door::Admin))) {
            let mut closed = closed.clone();
            let stop = async move { drop(closed.changed().await) };
            serving.spawn(serve(socket, tls, Rest { door, ..rest.clone() }, stop));
        }
        Served { closing, serving }
    }
}

impl Bound {
    fn to(key: &str, listener: &Listener, config: &WorkerConfig) -> Result<Self> {
        let tls = if listener.https { Some(Tls::read(&config.values, key)?) } else { None };
        let bound = TcpListener::bind((listener.host.as_str(), listener.port));
        let bound = bound.and_then(|socket| Ok(Self { address: socket.local_addr()?, socket, tls }));
        bound.map_err(|error| {
            let Listener { host, port, .. } = listener;
            let message = match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "Cannot listen on {host}:{port}: another program does. Is a worker running already? Else choose another \
                     port with `{key}`"
                ),
                _ => format!("Cannot listen on {host}:{port}: choose an address of this machine with `{key}`"),
            };
            ConnectError::config(message).because(error)
        })
    }
}

/// Sockets in use.
pub struct Served {
    closing: watch::Sender<()>,
    serving: JoinSet<io::Result<()>>,
}

impl Served {
    /// Takes no more requests.
    pub fn close(&self) {
        self.closing.send_replace(());
    }

    /// Waits until the requests under way are answered, for so long.
    pub async fn closed(mut self, patience: Duration) {
        let _ = timeout(patience, async { while self.serving.join_next().await.is_some() {} }).await;
    }
}
