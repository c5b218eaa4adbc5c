//! File descriptors: the worker takes as many as it may, and says what to do when they are used up.
//!
//! `cli.rs` raises the limit before anything else. Whatever becomes the text of an error somebody reads goes through
//! [`explained`]: traces of tasks and connectors (`task/report.rs`), waits (`task/patience.rs`) and librdkafka's complaints
//! (`kafka/events.rs`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How the system words it, in Rust's errors and in librdkafka's.
const USED_UP: &str = "Too many open files";

/// Allows this process as many open files and connections as its user may have: a connector takes about ten, with a
/// connection to Kafka fifteen, and shells and service managers begin with 1,024.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Refused only by a system that changed the limit meanwhile; then it is told when they are used up.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The text of an error, with what to do about it when descriptors are used up.
pub fn explained(mut text: String) -> String {
    if text.contains(USED_UP) {
        let limit = getrlimit(Resource::Nofile).current;
        let now = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        let more = format!(
            ". The worker has as many files and connections open as it may (ulimit -n is {now}): start it with a higher \
             ulimit -n (LimitNOFILE= of its service), or spread the connectors over several workers"
        );
        text.push_str(&more);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_descriptors_is_explained() {
        assert_eq!(explained("No such file".into()), "No such file");
        let text = explained(format!("Cannot start: {}", std::io::Error::from_raw_os_error(24)));
        assert!(text.starts_with("Cannot start: Too many open files (os error 24). "), "{text}");
        let limit = getrlimit(Resource::Nofile).current.unwrap();
        assert!(text.contains(&format!("ulimit -n is {limit}")), "{text}");
    }
}
