//! What the law tables of sources and sinks have in common: a ruling per law, and the table that is printed.

use std::fmt::Write;

use pipette_api::ConnectError;

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
