//! The one error type of the contract, in four kinds because the runtime takes four decisions.
//!
//! Plugins raise it, `src/task/guard.rs` of the worker decides on it. A crate that branches on its own errors keeps a
//! private enum and converts once, at the edge.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What the runtime does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The configuration is wrong: the connector or task fails, REST answers 400 at validate time. Never retried.
    Config,
    /// One record is bad: `errors.tolerance` skips it or fails the task.
    Data,
    /// The outside world is away for now: the call is made again after a back-off.
    Retriable,
    /// A promise is broken: the task fails, the others run on.
    Fatal,
}

/// The result of every fallible call in the contract.
pub type Result<T, E = ConnectError> = std::result::Result<T, E>;

/// An error that explains itself: what happened, and what to do about it.
///
/// One word in size, so that results stay small on the record path. `Display` shows the message alone; use
/// [`ConnectError::chain`] to show the causes as well.
#[derive(Debug)]
pub struct ConnectError(Box<Details>);

#[derive(Debug)]
struct Details {
    kind: ErrorKind,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConnectError {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Details { kind, message: message.into(), retry_after: None, source: None }))
    }

    /// The configuration is wrong; the message names the key.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// One record is bad; the message names the field or position.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// Trying again later may help.
    pub fn retriable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retriable, message)
    }

    /// The task cannot go on.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fatal, message)
    }

    /// Attaches the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// Asks the runtime to wait this long before it tries again, instead of its own back-off.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Puts where it happened in front of the message: `context: message`.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// The kind, which is what the runtime decides on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The wait asked for with [`ConnectError::retry_after`].
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The message and every cause behind it, joined by `: `. A cause that only repeats what was said is left out.
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_each_cause_once() {
        let cause = std::io::Error::other("disk full");
        let error = ConnectError::retriable("Cannot write out.txt").because(cause);
        assert_eq!(error.chain(), "Cannot write out.txt: disk full");
        assert_eq!(size_of::<ConnectError>(), 8);
    }
}
