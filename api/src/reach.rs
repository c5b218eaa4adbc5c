//! What of the machine and the network a plugin may touch: the worker decides, plugins ask.
//!
//! A key that holds a path or an address says so in its definition ([`crate::Key::path`], [`crate::Key::address`]); the
//! worker then checks its value when a configuration is validated. A plugin asks again when it opens something, because
//! links may have changed since: [`crate::Settings::reach`] has the door.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use crate::error::{ConnectError, Result};

/// What the value of a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A file or folder, or a list of them.
    Path,
    /// A URL or `host:port`, or a list of them.
    Address,
}

/// Decides. The error is the reason alone, for people: what is refused, and which key of the worker would allow it.
pub trait Gate: Send + Sync {
    /// Whether a file or folder may be used, every link on the way followed. It need not exist.
    fn path(&self, path: &Path) -> std::result::Result<(), String>;
    /// The same for a file that is open already: whatever happened to its path since.
    fn opened(&self, file: BorrowedFd<'_>) -> std::result::Result<(), String>;
    /// Whether a URL or `host:port` may be spoken to.
    fn address(&self, address: &str) -> std::result::Result<(), String>;
}

/// The door to the gate. Without one everything may be touched. Cheap to clone.
#[derive(Clone, Default)]
pub struct Reach(Option<Arc<dyn Gate>>);

impl Reach {
    /// What a gate lets through.
    pub fn through(gate: Arc<dyn Gate>) -> Self {
        Self(Some(gate))
    }

    /// A config error when the file or folder may not be used. To be asked before it is opened.
    pub fn path(&self, path: &Path) -> Result<()> {
        self.ask(|gate| gate.path(path))
    }

    /// A config error when the open file may not be used. To be asked before anything is read or written.
    pub fn opened(&self, file: &impl AsFd) -> Result<()> {
        self.ask(|gate| gate.opened(file.as_fd()))
    }

    /// A config error when the URL or `host:port` may not be spoken to. To be asked before connecting, and for redirects.
    pub fn address(&self, address: &str) -> Result<()> {
        self.ask(|gate| gate.address(address))
    }

    /// Why the value of a key may not be used, if so.
    pub fn refusal(&self, place: Place, value: &str) -> Option<String> {
        let gate = self.0.as_ref()?;
        let one = |value: &str| match place {
            Place::Path => gate.path(Path::new(value)).err(),
            Place::Address => gate.address(value).err(),
        };
        value.split(',').map(str::trim).filter(|value| !value.is_empty()).find_map(one)
    }

    fn ask(&self, question: impl Fn(&dyn Gate) -> std::result::Result<(), String>) -> Result<()> {
        self.0.as_deref().map_or(Ok(()), question).map_err(ConnectError::config)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Reach(limited)" } else { "Reach(everything)" })
    }
}
