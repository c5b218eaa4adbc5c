//! What placeholders of configurations stand for, so that it can be kept out of what is shown.
//!
//! `providers.rs` finds them. The herder hides those of a connector in what it says of it, the log hides all that this
//! process has ever put into a configuration: plugins and libraries write there too, and know of no secrets.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Shorter ones are words of every text: `1`, `all`.
const LEAST: usize = 4;

/// Their placeholders by what they stand for; the longest first, since it may hold others.
static KNOWN: Mutex<BTreeMap<(Reverse<usize>, String), String>> = Mutex::new(BTreeMap::new());

/// Those of one configuration, each with its placeholder.
#[derive(Clone, Default)]
pub struct Secrets(Vec<(String, String)>);

/// How many there are.
impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// One more; from now on the log does not show it either.
    pub(super) fn add(&mut self, placeholder: &str, secret: &str) {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        for form in forms(secret) {
            self.0.push((placeholder.to_owned(), form.clone()));
            // Fields of a log line are written with escapes.
            for form in [form.escape_debug().collect(), form] {
                known.entry((Reverse(form.len()), form)).or_insert_with(|| placeholder.to_owned());
            }
        }
    }

    /// The text with the placeholders again.
    pub fn hide_in(&self, text: &mut String) {
        self.hide_forms(text, str::to_owned);
    }

    /// The same in a text that others hold as well.
    pub fn hide_in_shared(&self, text: &mut Arc<str>) {
        let mut hidden = text.to_string();
        self.hide_in(&mut hidden);
        *text = hidden.into();
    }

    /// JSON with the placeholders again, inside of its strings.
    pub fn hide_in_json(&self, json: &mut String) {
        let inside = |plain: &str| {
            let quoted = serde_json::Value::from(plain).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        };
        self.hide_forms(json, inside);
    }

    fn hide_forms(&self, text: &mut String, form: impl Fn(&str) -> String) {
        for (placeholder, secret) in &self.0 {
            let secret = form(secret);
            if text.contains(&secret) {
                *text = text.replace(&secret, &form(placeholder));
            }
        }
    }
}

/// A secret in the forms in which others may show it: without the blanks around it, its lines one by one or as one, the
/// elements of a list one by one or as lists are shown, in capitals. The longest come first, since they hold others.
fn forms(secret: &str) -> Vec<String> {
    let elements: Vec<String> = secret.split(',').map(|element| element.trim().to_owned()).collect();
    let folded = secret.split_whitespace().collect::<Vec<_>>().join(" ");
    let joined = secret.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let lines = secret.lines().map(|line| line.trim().to_owned());
    let mut forms: Vec<String> = [secret.to_owned(), secret.trim().to_owned(), joined.trim().to_owned(), folded]
        .into_iter()
        .chain(lines)
        .chain([elements.join(", "), elements.join(",")])
        .chain(elements)
        .collect();
    forms.extend(forms.clone().into_iter().map(|form| form.to_uppercase()));
    forms.retain(|form| form.len() >= LEAST);
    forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    forms.dedup();
    forms
}

/// A text with the placeholders of everything that any configuration of this process has resolved.
pub fn hide_known(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for ((_, secret), placeholder) in &*KNOWN.lock().unwrap_or_else(PoisonError::into_inner) {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), placeholder));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        let mut secrets = Secrets::default();
        for (placeholder, secret) in pairs {
            secrets.add(placeholder, secret);
        }
        secrets
    }

    #[test]
    fn what_a_placeholder_stands_for_is_hidden_in_texts() {
        let secrets = secrets(&[("${a}", "hunter2"), ("${b}", "all")]);
        let mut text = String::from("hunter2 is not all of xhunter2x");
        secrets.hide_in(&mut text);
        assert_eq!(text, "${a} is not all of x${a}x");
        assert!(format!("{secrets:?}").starts_with("Secrets("));
    }

    #[test]
    fn a_secret_is_hidden_trimmed_line_by_line_on_one_line_and_in_capitals() {
        let secrets = secrets(&[("${s}", "  first line \r\n second\n")]);
        for seen in
            ["first line \r\n second", "first line", "second", "first line  second", "first line second", "SECOND"]
        {
            let mut text = format!("<{seen}>");
            secrets.hide_in(&mut text);
            assert!(!text.to_lowercase().contains("first line") && !text.to_lowercase().contains("second"), "{text}");
        }
    }

    #[test]
    fn the_elements_of_a_list_are_hidden_one_by_one() {
        let secrets = secrets(&[("${s}", "first key , second key,on, x1")]);
        for (seen, hidden) in [
            ("second key is no number", "${s} is no number"),
            ("[first key, second key, on, x1]", "[${s}]"),
            ("first key,second key,on,x1", "${s}"),
            ("FIRST KEY", "${s}"),
            ("on and x1 are words of every text", "on and x1 are words of every text"),
        ] {
            let mut text = seen.to_owned();
            secrets.hide_in(&mut text);
            assert_eq!(text, hidden);
        }
        drop(self::secrets(&[("${l}", "lanterns, mists")]));
        assert_eq!(hide_known("mists alone"), "${l} alone");
    }

    #[test]
    fn inside_of_json_they_are_hidden_as_json_writes_them() {
        let mut json = serde_json::json!({"a": "x \"y\"\nz", "b": 1}).to_string();
        secrets(&[("${file:\\a}", "\"y\"\nz")]).hide_in_json(&mut json);
        assert_eq!(json, r#"{"a":"x ${file:\\a}","b":1}"#);
    }

    #[test]
    fn the_process_knows_all_of_them_whole_and_escaped() {
        drop(secrets(&[
            ("${c}", "lantern"),
            ("${d}", "lantern in the mist"),
            ("${e}", "two\n\"lines\""),
            ("${f}", "of"),
        ]));
        let seen = "of lantern in the mist, lantern, two\\n\\\"lines\\\" and two\n\"lines\"";
        assert_eq!(hide_known(seen), "of ${d}, ${c}, ${e} and ${e}");
        assert!(matches!(hide_known("nothing"), Cow::Borrowed(_)));
    }
}
