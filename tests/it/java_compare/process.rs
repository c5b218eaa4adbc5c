//! A Java program of `tests/java/src/`, compiled once a run, that answers cases on its standard input.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use serde_json::Value as Json;

use crate::support::kafka::class_path;

pub(crate) struct Java {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Java {
    /// Starts the program; it ends with this value.
    pub(crate) fn start(main: &str) -> Self {
        let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("java_compare/classes");
        compile(&classes);
        let path = format!("{}:{}", classes.display(), class_path());
        let mut child = Command::new("java")
            .args(["-Duser.timezone=UTC", "-Duser.language=en", "-Duser.country=US", "-cp", &path, main])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java is there");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { input: child.stdin.take(), child, output }
    }

    /// The answers to the cases, in order.
    pub(crate) fn ask<'c>(&mut self, cases: impl ExactSizeIterator<Item = &'c Json> + Send) -> Vec<Json> {
        let (input, output) = (self.input.as_mut().unwrap(), &mut self.output);
        let count = cases.len();
        thread::scope(|scope| {
            scope.spawn(move || {
                let lines: Vec<u8> = cases.flat_map(|case| format!("{case}\n").into_bytes()).collect();
                input.write_all(&lines).expect("Java reads all cases");
                input.flush().expect("Java reads all cases");
            });
            output
                .lines()
                .take(count)
                .map(|line| {
                    let line = line.expect("Java answers in UTF-8");
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
                })
                .collect()
        })
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn compile(classes: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/src");
    let files = sources.read_dir().unwrap().map(|file| file.unwrap().path());
    let status = Command::new("javac")
        .args(["-nowarn", "-Xlint:none", "-d"])
        .arg(classes)
        .args(["-cp", &class_path()])
        .args(files)
        .status()
        .expect("javac is there: a JDK of 17 or newer");
    assert!(status.success(), "javac ended with {status}");
}
