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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use pipette_api::{SourceEntry, SourceTask, Wish};
    use pipette_kit::{Bench, MapOffsets};

    use super::*;
    use crate::source::FileStreamSource;

    #[test]
    fn lines_of_a_pipe_have_no_offsets_and_do_not_hold_up_a_stop() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let feed = Feed::of(reader);
        let bench = Bench::new().unwrap();
        let started = || {
            let mut task = FileStreamSource::of_stream("lines", feed.clone());
            bench.run("start", task.start(bench.source(0, Arc::new(MapOffsets::default())))).unwrap().unwrap();
            task
        };
        let mut task = started();
        writer.write_all(b"one\n").unwrap();
        let batch = bench.run("poll", task.poll()).unwrap().unwrap();
        let [SourceEntry::Record(record)] = &batch.entries[..] else { panic!("{batch:?}") };
        assert!(record.position.is_none());
        assert_eq!(record.record.value.value.as_str(), Some("one"));

        bench.wish(Wish::Stop);
        let batch =
            bench.run_within(Duration::from_secs(1), "poll, while nothing comes,", task.poll()).unwrap().unwrap();
        assert!(batch.is_empty());

        bench.wish(Wish::Run);
        let mut next = started();
        writer.write_all(b"two\n").unwrap();
        let batch = bench.run("poll", next.poll()).unwrap().unwrap();
        assert_eq!(batch.entries.len(), 1, "the next task goes on with the same stream");
    }
}
