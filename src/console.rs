//! What a command says, and what its failure is worth as an exit code.
//!
//! The commands of `cli.rs`, the quick start and the worker's assembly share it.

use std::io::{self, Write};

use pipette_api::{ConnectError, Result};

/// An error on its way to the exit code.
#[derive(Debug)]
pub struct Failure {
    /// 1: wrong arguments, or a file that is not valid. 2: the worker file, its state folder or its port. 3: the
    /// worker does not come up, or a connector of the command line was refused.
    pub code: u8,
    /// What to tell.
    pub error: ConnectError,
}

impl Failure {
    /// The worker cannot start with what it was given.
    pub fn setup(error: ConnectError) -> Self {
        Self { code: 2, error }
    }

    /// The worker was up, or nearly so.
    pub fn start(error: ConnectError) -> Self {
        Self { code: 3, error }
    }
}

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn say(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ConnectError::fatal("Cannot write to standard output").because(error))
        }
        _ => Ok(()),
    }
}

/// Prints to standard error what is no error and may be a mistake. A reader that has gone away is no error either.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "pipette: warning: {text}");
}
