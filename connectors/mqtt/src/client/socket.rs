//! The socket below a connection.
//!
//! A socket that is closed with something unread in it is reset, and a reset takes away what the other side has not read
//! yet: our last acknowledgements. The client library closes so. We hold the socket as well, and close it in peace. Read
//! next: `pump.rs`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::uri::Server;

/// A second handle to the socket that the client library works with.
#[derive(Clone, Default)]
pub(super) struct Socket(Arc<Mutex<Option<std::net::TcpStream>>>);

impl Socket {
    /// Connects, for the client library.
    pub(super) async fn open(self, server: Server) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.try_clone()?);
        TcpStream::from_std(stream)
    }

    /// Whether somebody has taken the connection.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Says that nothing follows, and reads until the broker has closed its side. Everything is written before.
    pub(super) async fn finish(&self) -> io::Result<()> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(socket) = socket else { return Ok(()) };
        let mut socket = TcpStream::from_std(socket)?;
        socket.shutdown().await?;
        let mut unread = [0; 4096];
        while socket.read(&mut unread).await? > 0 {}
        Ok(())
    }
}
