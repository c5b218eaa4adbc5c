//! The Markdown table of a definition, for the generated pages.

use std::fmt::Write;

use super::def::ConfigDef;
use super::key::{KeyInfo, Presence};

/// The keys as a table, grouped in the order of the definition.
pub fn table(def: &ConfigDef) -> String {
    table_of(def.keys().iter().copied())
}

/// The same for keys that stand in no definition.
pub fn table_of<'a>(keys: impl Iterator<Item = &'a KeyInfo>) -> String {
    let mut page = String::new();
    let mut group = None;
    for (index, key) in keys.enumerate() {
        if index == 0 || key.group != group {
            group = key.group;
            if let Some(group) = group {
                let _ = write!(page, "{}### {group}\n\n", if index == 0 { "" } else { "\n" });
            }
            page.push_str("| key | type | default | importance | meaning |\n|---|---|---|---|---|\n");
        }
        row(&mut page, key);
    }
    page
}

fn row(page: &mut String, key: &KeyInfo) {
    let default = match key.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "none".to_owned(),
        Presence::Default("") => "empty".to_owned(),
        Presence::Default(text) => format!("`{}`", text.replace('|', "\\|")),
    };
    let _ = writeln!(
        page,
        "| `{}` | {} | {default} | {} | {} |",
        key.name,
        key.kind.name().to_lowercase(),
        key.importance.name().to_lowercase(),
        key.doc.replace('|', "\\|").replace('\n', " ")
    );
}
