//! A load: so many items a second, handed out by a thread of its own.
//!
//! `proofs/` appends rows to files with it and sends records; what a tick's items become is the caller's.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wait;

/// A running load; it ends when this is dropped.
pub(crate) struct Feed {
    given: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Gives `per_second` items away, in ticks of `tick`; each gets the numbers of its items, which count from 0.
    pub(crate) fn start(per_second: u64, tick: Duration, mut give: impl FnMut(Range<usize>) + Send + 'static) -> Self {
        let (given, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (Arc::clone(&given), Arc::clone(&stop));
        let began = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut next = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = began.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
                let due = usize::try_from(due).expect("items of a test");
                if due > next {
                    give(next..due);
                    next = due;
                    counted.store(next, Ordering::Release);
                }
                wait::moment(tick);
            }
        });
        Self { given, stop, thread: Some(thread) }
    }

    /// The same with lines that are appended to a file.
    pub(crate) fn lines(
        file: &Path,
        per_second: u64,
        tick: Duration,
        line: impl Fn(usize) -> String + Send + 'static,
    ) -> Self {
        let mut file = File::options().create(true).append(true).open(file).expect("the file that grows");
        Self::start(per_second, tick, move |items| {
            let text: String = items.map(|item| line(item) + "\n").collect();
            file.write_all(text.as_bytes()).expect("the file grows");
        })
    }

    /// How many items have been given away so far.
    pub(crate) fn given(&self) -> usize {
        self.given.load(Ordering::Acquire)
    }

    /// Ends the load: how many items there were.
    pub(crate) fn end(mut self) -> usize {
        self.halt();
        self.given()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the load ended by a failure");
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.halt();
    }
}
