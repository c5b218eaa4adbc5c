//! What others may see of the task: metrics, and the answer to "why is my file not processed".
//!
//! `source.rs` writes it, the worker's REST reads it through [`FILES`] at `GET /connectors/{name}/files`. Read next:
//! `source.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use pipette_api::{ConnectError, Metric, MetricInfo, MetricKind, Metrics, Question, Result, Shared};
use serde_json::{Value, json};

use crate::identity::{decode_path, shown};

/// Files that are over are remembered up to this number.
const FINISHED: usize = 1000;
/// Files per page of the answer.
const PAGE: usize = 1000;

pub(crate) const fn counter(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { name, kind: MetricKind::Counter, help, labels: &[] }
}

const fn gauge(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { name, kind: MetricKind::Gauge, help, labels: &[] }
}

/// The metrics, in the order in which [`Numbers`] has them.
pub(crate) static METRICS: [MetricInfo; 8] = [
    counter("lab_files_discovered_total", "Files found for the first time."),
    counter("lab_files_completed_total", "Files whose last record is in Kafka and whose offset is stored."),
    counter("lab_files_failed_total", "Files that could not be read as a whole."),
    counter("lab_files_records_total", "Records handed over."),
    counter("lab_files_bad_records_total", "Rows and lines that could not become records."),
    counter("lab_files_bytes_read_total", "Bytes of file content handed over."),
    gauge("lab_files_live", "Files between discovery and the end of their clean-up."),
    gauge("lab_files_cleanup_pending", "Files that are stored in Kafka and wait to be moved or removed."),
];

#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) discovered: Metric,
    pub(crate) completed: Metric,
    pub(crate) failed: Metric,
    pub(crate) records: Metric,
    pub(crate) bad: Metric,
    pub(crate) bytes: Metric,
    pub(crate) live: Metric,
    pub(crate) cleanup: Metric,
}

impl Numbers {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let [discovered, completed, failed, records, bad, bytes, live, cleanup] =
            METRICS.each_ref().map(|info| metrics.register(info, &[]));
        Self { discovered, completed, failed, records, bad, bytes, live, cleanup }
    }
}

/// The files question.
pub(crate) const FILES: Question = Question {
    path: "files",
    about: "The files of a watched folder with their states: ?state=… selects one, ?after=… continues behind the `after` of an answer.",
    answer,
};

/// One file as others see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: &'static str,
    pub(crate) size: u64,
    /// Bytes handed over.
    pub(crate) position: u64,
    pub(crate) records: u64,
    /// Rows that could not become records, since this worker began with the file, and what is wrong with the last one.
    pub(crate) bad: u64,
    pub(crate) bad_row: Option<String>,
    pub(crate) reason: Option<String>,
}

/// The files of a connector by their encoded paths; alive in `source.rs`' ledger, or among the last that are over.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    seen: BTreeMap<String, Seen>,
    finished: VecDeque<String>,
}

impl Board {
    pub(crate) fn show(&self, path: &str, seen: Seen) {
        self.with(|files| {
            files.seen.insert(path.to_owned(), seen);
        });
    }

    /// More of a file was read; what was bad before stays told.
    pub(crate) fn read(&self, path: &str, mut seen: Seen) {
        self.with(|files| {
            if let Some(before) = files.seen.get_mut(path) {
                seen.bad += before.bad;
                seen.bad_row = seen.bad_row.take().or_else(|| before.bad_row.take());
            }
            files.seen.insert(path.to_owned(), seen);
        });
    }

    /// The last word on a file.
    pub(crate) fn finish(&self, path: &str, state: &'static str, reason: Option<String>) {
        self.with(|files| {
            let Some(seen) = files.seen.get_mut(path) else { return };
            (seen.state, seen.reason) = (state, reason.or(seen.reason.take()));
            files.finished.push_back(path.to_owned());
            if files.finished.len() > FINISHED
                && let Some(oldest) = files.finished.pop_front()
                && !files.finished.contains(&oldest)
            {
                files.seen.remove(&oldest);
            }
        });
    }

    pub(crate) fn state(&self, path: &str, state: &'static str, reason: Option<String>) {
        self.with(|files| {
            if let Some(seen) = files.seen.get_mut(path) {
                (seen.state, seen.reason) = (state, reason);
            }
        });
    }

    pub(crate) fn forget(&self, path: &str) {
        self.with(|files| {
            files.seen.remove(path);
        });
    }

    fn with(&self, change: impl FnOnce(&mut Files)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn answer(shared: &Shared, query: &BTreeMap<String, String>) -> Result<String> {
    let board = shared.get::<Board>();
    let files = board.0.lock().unwrap_or_else(PoisonError::into_inner);
    let after = query.get("after").map_or("", String::as_str);
    let wanted = |seen: &Seen| query.get("state").is_none_or(|state| seen.state.eq_ignore_ascii_case(state));
    let range = (std::ops::Bound::Excluded(after.to_owned()), std::ops::Bound::Unbounded);
    let mut found = files.seen.range(range).filter(|(_, seen)| wanted(seen)).peekable();
    let page: Vec<(&String, Value)> = found.by_ref().take(PAGE).map(|(path, seen)| (path, row(path, seen))).collect();
    let next = found.peek().and(page.last()).map(|(path, _)| path.as_str());
    let rows: Vec<&Value> = page.iter().map(|(_, row)| row).collect();
    serde_json::to_string(&json!({ "files": rows, "after": next }))
        .map_err(|error| ConnectError::fatal("The list of files cannot be written").because(error))
}

fn row(path: &str, seen: &Seen) -> Value {
    json!({
        "path": shown(decode_path(path)),
        "state": seen.state,
        "size": seen.size,
        "position": seen.position,
        "records": seen.records,
        "bad": seen.bad,
        "bad_row": seen.bad_row,
        "reason": seen.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_paged_filtered_and_bounded() {
        let shared = Shared::default();
        let board = shared.get::<Board>();
        for number in 0..2500 {
            let path = format!("f{number:04}");
            board.show(&path, Seen { state: "READING", size: 9, position: 1, records: 1, ..Seen::default() });
            if number % 2 == 0 {
                board.finish(&path, "DONE", None);
            }
        }
        let ask = |pairs: &[(&str, &str)]| -> Value {
            let query = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            serde_json::from_str(&answer(&shared, &query).unwrap()).unwrap()
        };
        let all = ask(&[]);
        assert_eq!(all["files"].as_array().unwrap().len(), PAGE);
        let rest = ask(&[("after", all["after"].as_str().unwrap()), ("state", "reading")]);
        assert!(rest["files"].as_array().unwrap().iter().all(|file| file["state"] == "READING"));
        let done = ask(&[("state", "DONE")]);
        assert_eq!(done["files"].as_array().unwrap().len(), FINISHED, "only the last ones are remembered");
        assert_eq!(done["files"][0]["path"], "f0500");
        assert_eq!(ask(&[("state", "FAILED")])["after"], Value::Null);
    }
}
