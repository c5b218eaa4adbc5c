//! Hands rows over at a steady rate while a worker lives and dies: files that grow, and whole files in a folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wait;
use crate::checker::{Handed, row};

/// Between two additions to a file that grows.
const TICK: Duration = Duration::from_millis(25);

/// Where rows go. Files that grow have the first numbers of the checker's files, those of the folder the next ones.
pub(crate) struct Feed {
    pub(crate) growing: Vec<PathBuf>,
    pub(crate) inbox: Option<PathBuf>,
    /// Rows/s for each growing file and for the folder.
    pub(crate) rate: usize,
    /// Rows of a file in the folder.
    pub(crate) per_file: usize,
}

/// Rows that keep coming until the end is asked for.
pub(crate) struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Fed>>,
}

/// What was handed over, and how fast.
pub(crate) struct Fed {
    pub(crate) handed: Handed,
    pub(crate) rows_per_second: usize,
}

impl Feeder {
    pub(crate) fn start(feed: Feed) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: Some(std::thread::spawn(move || run(&feed, &told))) }
    }

    pub(crate) fn finish(mut self) -> Fed {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().expect("a feeder that runs").join().expect("rows were handed over")
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(feed: &Feed, stop: &AtomicBool) -> Fed {
    let mut files: Vec<File> = feed
        .growing
        .iter()
        .map(|path| File::options().create(true).append(true).open(path).expect("a file that grows"))
        .collect();
    let mut handed = Handed { rows: vec![0; files.len()] };
    let started = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let due = |already: usize| (millis(started) * feed.rate / 1000).saturating_sub(already);
        for (number, file) in files.iter_mut().enumerate() {
            let begin = handed.rows[number];
            handed.rows[number] += due(begin);
            let text: String = (begin..handed.rows[number]).map(|n| row(number, n) + "\n").collect();
            file.write_all(text.as_bytes()).expect("rows are added");
        }
        if let Some(inbox) = &feed.inbox {
            while due((handed.rows.len() - files.len()) * feed.per_file) >= feed.per_file {
                handed.rows.push(feed.per_file);
                let number = handed.rows.len() - 1;
                drop_in(inbox, number, &handed.file(number));
            }
        }
        wait::moment(TICK);
    }
    let rows_per_second = handed.total() * 1000 / millis(started).max(1);
    Fed { handed, rows_per_second }
}

fn millis(since: Instant) -> usize {
    usize::try_from(since.elapsed().as_millis()).expect("a short time")
}

/// As a lab server does it that knows how: written under another name, then renamed.
pub(crate) fn drop_in(folder: &Path, file: usize, content: &str) {
    let hidden = folder.join(format!(".{}", name(file)));
    fs::write(&hidden, content).expect("a file in the folder");
    fs::rename(&hidden, folder.join(name(file))).expect("its name");
}

/// The name of a file of the checker.
pub(crate) fn name(file: usize) -> String {
    format!("plate-{file:04}.txt")
}

/// The file of that name.
pub(crate) fn number(name: &str) -> Option<usize> {
    name.strip_prefix("plate-")?.strip_suffix(".txt")?.parse().ok()
}
