//! Standard input, read by a thread of its own: such a read cannot be called off, and a task must be able to stop.
//!
//! There is one standard input per process, so there is one thread and one queue; a task that is started again takes
//! over where the one before it stopped. Used by `source.rs`.

use std::io::Read;
use std::sync::{Arc, LazyLock};

use tokio::sync::{Mutex, mpsc};

/// Bytes per read.
const CHUNK: usize = 64 << 10;
/// Reads that may wait for the task; behind them the thread, and so the pipe, waits.
const WAITING: usize = 4;

static STDIN: LazyLock<Feed> = LazyLock::new(|| Feed::of(std::io::stdin()));

/// Bytes of a stream that can only be read by waiting.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Mutex<mpsc::Receiver<Vec<u8>>>>);

impl Feed {
    /// Standard input.
    pub(crate) fn stdin() -> Self {
        STDIN.clone()
    }

    /// Reads a stream to its end on a new thread.
    pub(crate) fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        std::thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            // A stream that cannot be read any more has ended, as far as a reader is concerned.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self(Arc::new(Mutex::new(receiver)))
    }

    /// The next bytes; never resolves at the end of the stream, where there is nothing left to wait for. May be
    /// dropped and called again.
    pub(crate) async fn next(&self) -> Vec<u8> {
        match self.0.lock().await.recv().await {
            Some(bytes) => bytes,
            None => std::future::pending().await,
        }
    }
}
