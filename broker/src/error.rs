//! Why a broker cannot start, said to the person who has to do something about it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// Why [`crate::Broker::start`] failed. The text says what happened and what to do.
#[derive(Debug)]
pub enum BrokerError {
    /// A Kafka broker, ours or not, already serves this address.
    KafkaThere { address: SocketAddr },
    /// Something else listens there.
    PortInUse { address: SocketAddr },
    /// The address cannot be listened on for another reason.
    Listen { address: SocketAddr, error: io::Error },
    /// The address can be reached from other machines, and that was not allowed.
    Remote { address: SocketAddr },
    /// Another broker uses the data folder.
    Locked { folder: PathBuf, pid: Option<u32> },
    /// The data folder cannot be created, read or written.
    Folder { folder: PathBuf, error: io::Error },
    /// A newer Pipette wrote the data folder.
    NewerFormat { folder: PathBuf, found: u32, known: u32 },
    /// The folder holds something that no Pipette broker wrote.
    NotOurs { file: PathBuf },
    /// The system gives no thread.
    Runtime(io::Error),
}

impl fmt::Display for BrokerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrokerError::KafkaThere { address } => write!(
                out,
                "a Kafka broker already answers on {address}; use it (bootstrap.servers={address}), stop it, or choose \
                 another port"
            ),
            BrokerError::PortInUse { address } => {
                write!(out, "another program already listens on {address}; stop it or choose another port")
            }
            BrokerError::Listen { address, error } => write!(out, "cannot listen on {address}: {error}"),
            BrokerError::Remote { address } => write!(
                out,
                "{address} can be reached from other machines, and this broker has neither TLS nor a login; listen on \
                 127.0.0.1, or allow it explicitly if that network is trusted"
            ),
            BrokerError::Locked { folder, pid } => {
                let folder = folder.display();
                match pid {
                    Some(pid) => write!(out, "the broker with process id {pid} already uses the folder {folder}"),
                    None => write!(out, "another broker already uses the folder {folder}"),
                }
            }
            BrokerError::Folder { folder, error } => {
                write!(out, "cannot use the broker's data folder {}: {error}", folder.display())
            }
            BrokerError::NewerFormat { folder, found, known } => write!(
                out,
                "the folder {} has format {found}, written by a newer Pipette; this one knows format {known}. \
                 Use the newer Pipette, or another folder",
                folder.display()
            ),
            BrokerError::NotOurs { file } => write!(
                out,
                "{} is not what a Pipette broker writes; choose a folder that is empty or was written by one",
                file.display()
            ),
            BrokerError::Runtime(error) => write!(out, "cannot start the broker's thread: {error}"),
        }
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BrokerError::Listen { error, .. } | BrokerError::Folder { error, .. } | BrokerError::Runtime(error) => {
                Some(error)
            }
            _ => None,
        }
    }
}

/// Says who is in the way, because "a Kafka is already there" calls for something else than "the port is taken".
pub(crate) fn cannot_listen(address: SocketAddr, error: io::Error) -> BrokerError {
    if error.kind() != io::ErrorKind::AddrInUse {
        return BrokerError::Listen { address, error };
    }
    match answers_like_kafka(address) {
        Ok(true) => BrokerError::KafkaThere { address },
        Ok(false) | Err(_) => BrokerError::PortInUse { address },
    }
}

/// Asks which API versions are spoken there; anything but an answer to that question is no Kafka.
fn answers_like_kafka(address: SocketAddr) -> io::Result<bool> {
    const PATIENCE: Duration = Duration::from_secs(1);
    const CORRELATION: [u8; 4] = *b"pip?";
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Length 10; ApiVersions (18) version 0; the correlation id; no client id.
    let request = [&[0, 0, 0, 10, 0, 18, 0, 0], &CORRELATION[..], &[0xff, 0xff]].concat();
    stream.write_all(&request)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(answer[4..] == CORRELATION)
}
