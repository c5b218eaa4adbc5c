//! The Markdown table of a definition, for the generated pages.

use std::fmt::Write;

use super::def::ConfigDef;
use super::key::{KeyInfo, Presence};

/// The keys as a table for each group, those without a group first; all in the order of the definition.
pub fn table(def: &ConfigDef) -> String {
    table_of(def.keys().iter().copied())
}

/// The same for keys that stand in no definition.
pub fn table_of<'a>(keys: impl Iterator<Item = &'a KeyInfo>) -> String {
    let mut groups: Vec<(Option<&str>, Vec<&KeyInfo>)> = vec![(None, Vec::new())];
    for key in keys {
        match groups.iter_mut().find(|(group, _)| *group == key.group) {
            Some((_, members)) => members.push(key),
            None => groups.push((key.group, vec![key])),
        }
    }
    let mut page = String::new();
    for (group, members) in groups.iter().filter(|(_, members)| !members.is_empty()) {
        if let Some(group) = group {
            let _ = write!(page, "{}### {group}\n\n", if page.is_empty() { "" } else { "\n" });
        }
        page.push_str("| key | type | default | importance | meaning |\n|---|---|---|---|---|\n");
        for key in members {
            row(&mut page, key);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    #[test]
    fn each_group_is_one_table_wherever_its_keys_stand() {
        static URI: Key<String> = Key::new("uri", "Where.").group("Store");
        static TARGET: Key<String> = Key::new("target", "What.").optional();
        static HTTP: Key<bool> = Key::new("http", "Whether.").default("false").group("Store");
        static DEF: ConfigDef = ConfigDef::new(&[&URI.info, &TARGET.info, &HTTP.info]);
        let head = "| key | type | default | importance | meaning |\n|---|---|---|---|---|\n";
        assert_eq!(
            table(&DEF),
            format!(
                "{head}| `target` | string | none | medium | What. |\n\n### Store\n\n{head}\
                 | `uri` | string | required | medium | Where. |\n| `http` | boolean | `false` | medium | Whether. |\n"
            )
        );
    }
}
