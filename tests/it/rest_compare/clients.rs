//! Programs that people use, `kc` and `kafka_connect`, in the place of bare requests: `tests/java/rest/clients.txt`.
//!
//! A command is a step whose answer is what the program says; `table.rs` reads it, `contender.rs` lets it be given.

use std::process::{Command, Stdio};
use std::sync::LazyLock;

use regex::Regex;

use super::table::{Stage, Step, Story, filled_in};
use super::wire::Reply;
use crate::support::python;

const TABLE: &str = include_str!("../../java/rest/clients.txt");

/// Set of packages and program.
const PROGRAMS: [(&str, &str); 2] = [("kafka-connect-py", "kc"), ("kafka-connect-cli", "kafka_connect")];

/// Verbs that change nothing, or nothing more when they are given twice.
const READS: [&str; 14] = [
    "info",
    "list",
    "get",
    "config",
    "status",
    "list-tasks",
    "task-status",
    "list-topics",
    "list-plugins",
    "restart",
    "configuration",
    "health-check",
    "pause",
    "resume",
];

pub(crate) fn stories() -> Vec<Story> {
    Story::all(TABLE, Stage::Plain, parse)
}

fn parse(line: &str) -> Step {
    let (program, rest) = line.split_once(' ').expect("a command");
    let (until, rest) = match rest.strip_prefix("«until: ").and_then(|rest| rest.split_once("» ")) {
        Some((until, rest)) => (Some(until.to_owned()), rest),
        None => (None, rest),
    };
    let (arguments, body) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
    Step {
        line: line.to_owned(),
        method: program.to_owned(),
        path: arguments.trim().to_owned(),
        headers: Vec::new(),
        body: filled_in(body),
        until,
    }
}

pub(crate) fn is_command(step: &Step) -> bool {
    PROGRAMS.iter().any(|(_, program)| *program == step.method)
}

/// In front of what a program logs.
static TIME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - ").expect("a pattern"));

/// Its verb: `connector list` is a `list`.
fn verb(step: &Step) -> &str {
    let mut words = step.path.split(' ');
    let first = words.next().unwrap_or_default();
    if ["connector", "task"].contains(&first) { words.next().unwrap_or_default() } else { first }
}

pub(crate) fn lists_connectors(step: &Step) -> bool {
    is_command(step) && verb(step) == "list" && !step.path.starts_with("task")
}

pub(crate) fn is_read(step: &Step) -> bool {
    READS.contains(&verb(step))
}

/// What it says about the worker there; the status is its exit code.
pub(crate) fn give(address: &str, step: &Step) -> Reply {
    let (set, program) = PROGRAMS.iter().find(|(_, program)| *program == step.method).expect("a known program");
    let url = ["--url".to_owned(), format!("http://{address}")];
    let mut command = Command::new(python::program(set, program));
    // One takes the address before the verb, the other behind it.
    if step.method == "kc" {
        command.args(&url).args(step.path.split(' '));
    } else {
        command.args(step.path.split(' '));
    }
    if !step.body.is_empty() {
        command.arg(&step.body);
    }
    if step.method != "kc" {
        command.args(&url);
    }
    let ended = command.stdin(Stdio::null()).env("NO_COLOR", "1").output().expect("the program starts");
    let said = [ended.stdout, ended.stderr].concat();
    let status = ended.status.code().and_then(|code| u16::try_from(code).ok()).expect("an exit code");
    let said = String::from_utf8_lossy(&said);
    Reply { status, headers: Vec::new(), body: TIME.replace_all(said.trim(), "").into_owned() }
}

#[test]
fn a_line_is_a_command() {
    let step = parse(r#"kafka_connect «until: a b» connector create --name a§ --configuration {"x":"y z"}"#);
    assert_eq!((step.until.as_deref(), step.body.as_str()), (Some("a b"), r#"{"x":"y z"}"#));
    assert_eq!((step.path.as_str(), verb(&step)), ("connector create --name a§ --configuration", "create"));
    assert!(is_command(&step) && !is_read(&step) && is_read(&parse("kc list")));
}
