//! A Java process from Apache's jars that ends with the tests.
//!
//! A small shell stands between us and Java. It holds a pipe to this process and kills Java when that pipe closes, so
//! none outlives the tests, even one that lives in a static or whose tests were killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `$1` log, `$2` folder, then the command. Signals of a terminal are for the tests; the pipe's end is for us. Java does not
/// end by a SIGTERM that is ignored where it starts.
const WARDEN: &str = r#"
trap '' INT TERM HUP
log=$1 folder=$2; shift 2
( trap - TERM; exec "$@" ) >>"$log" 2>&1 </dev/null &
echo $!; exec >/dev/null 2>&1
cat >/dev/null
kill -KILL $!; wait $!
rm -rf -- "$folder"
"#;

/// A running Java. It and its folder are gone when this is dropped, or when the test process ends.
pub(crate) struct JavaProcess {
    pub(crate) pid: u32,
    warden: Child,
}

impl JavaProcess {
    /// Runs `class`, told the one file; its words go to the end of the log.
    pub(crate) fn start(
        folder: &Path,
        log: &Path,
        options: &[&str],
        class_path: &str,
        class: &str,
        file: &Path,
    ) -> Self {
        let mut warden = Command::new("sh")
            .args(["-c", WARDEN, "warden"])
            .args([log, folder])
            .arg("java")
            .args(options)
            .args([&logging(), "-cp", class_path, class])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        BufReader::new(warden.stdout.take().expect("a pipe")).read_line(&mut line).expect("Java's pid");
        Self { pid: line.trim().parse().expect("a pid"), warden }
    }

    /// A dead child of the warden stays a zombie until the pipe closes.
    pub(crate) fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    }
}

impl Drop for JavaProcess {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        // The warden ends only after Java has: its ports are free again.
        let _ = self.warden.wait();
    }
}

/// Java's option for the logging of all that the tests start.
pub(crate) fn logging() -> String {
    format!("-Dlog4j2.configurationFile={}/tests/java/log4j2.xml", env!("CARGO_MANIFEST_DIR"))
}
