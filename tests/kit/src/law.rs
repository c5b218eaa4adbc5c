//! What the law tables of sources and sinks have in common: a ruling per law, and the table that is printed.

use std::fmt::Write;

use pipette_api::ConnectError;

use crate::bench::Bench;

/// Whether a plugin claims to be able to do something. A law that needs it is printed with the reason when it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// It can, and the laws hold it to that.
    Yes,
    /// It cannot, and why.
    No(&'static str),
}

/// How a law was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The plugin keeps it.
    Kept,
    /// It says nothing about this plugin, and why.
    NotApplicable(&'static str),
}

/// The plugin breaks the law; says how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

impl From<ConnectError> for Broken {
    fn from(error: ConnectError) -> Self {
        Self(format!("unexpected {:?} error: {}", error.kind(), error.chain()))
    }
}

/// What each law answers.
pub type Judgement = Result<Ruling, Broken>;

/// Broken with that explanation, unless the condition holds.
pub fn ensure(condition: bool, explain: impl FnOnce() -> String) -> Result<(), Broken> {
    if condition { Ok(()) } else { Err(Broken(explain())) }
}

/// Ends a law that needs what the plugin does not claim.
macro_rules! applies {
    ($capability:expr) => {
        if let crate::law::Capability::No(reason) = $capability {
            return Ok(crate::law::Ruling::NotApplicable(reason));
        }
    };
}
pub(crate) use applies;

/// Texts that are short, plain and unique, in order.
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number:05}")).collect()
}

/// Every text at least once and nothing else.
pub(crate) fn nothing_missing(written: &[String], seen: &[String]) -> Judgement {
    let missing: Vec<_> = written.iter().filter(|text| !seen.contains(text)).collect();
    ensure(missing.is_empty(), || {
        format!("{} of {} records are missing, the first is {}", missing.len(), written.len(), missing[0])
    })?;
    let stranger = seen.iter().find(|text| !written.contains(text));
    ensure(stranger.is_none(), || format!("a record that nobody wrote: {stranger:?}"))?;
    Ok(Ruling::Kept)
}

/// Every text once and nothing else.
pub(crate) fn exactly_once(written: &[String], seen: &[String]) -> Judgement {
    nothing_missing(written, seen)?;
    let doubled = written.iter().find(|text| seen.iter().filter(|other| other == text).count() > 1);
    ensure(doubled.is_none(), || format!("a record comes more than once: {doubled:?}"))?;
    Ok(Ruling::Kept)
}

/// A stopped task has left no future on the runtime and nothing in the outside system.
pub(crate) fn nothing_left(bench: &Bench, left: &[String]) -> Judgement {
    let spawned = bench.spawned();
    ensure(spawned == 0, || format!("{spawned} spawned futures run on after stop"))?;
    ensure(left.is_empty(), || format!("left behind after stop: {}", left.join(", ")))?;
    Ok(Ruling::Kept)
}

/// Prints one line per law and panics with every broken one.
pub(crate) fn judge(plugin: &str, rulings: &[(&str, &str, Judgement)]) {
    let mut table = format!("{plugin}\n");
    let mut broken = Vec::new();
    for (id, law, judgement) in rulings {
        let verdict = match judgement {
            Ok(Ruling::Kept) => "kept".to_owned(),
            Ok(Ruling::NotApplicable(reason)) => format!("does not apply: {reason}"),
            Err(Broken(reason)) => {
                broken.push(format!("{id} ({law}): {reason}"));
                format!("BROKEN: {reason}")
            }
        };
        let _ = writeln!(table, "  {id:<4} {law}: {verdict}");
    }
    show(&table);
    assert!(
        broken.is_empty(),
        "{plugin} breaks {} of {} laws:\n  {}",
        broken.len(),
        rulings.len(),
        broken.join("\n  ")
    );
}

// The table is the point of a law run: a law that does not apply is never passed over in silence.
#[allow(clippy::print_stdout)]
fn show(table: &str) {
    println!("{table}");
}
