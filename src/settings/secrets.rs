//! What placeholders of configurations stand for, so that it can be kept out of what is shown.
//!
//! `providers.rs` finds them. The herder hides those of a connector in what it says of it, the log hides all that this
//! process has ever put into a configuration: plugins and libraries write there too, and know of no secrets.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

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
        self.0.push((placeholder.to_owned(), secret.to_owned()));
        if secret.len() >= LEAST {
            let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            // Fields of a log line are written with escapes.
            for form in [secret.to_owned(), secret.escape_debug().collect()] {
                known.entry((Reverse(form.len()), form)).or_insert_with(|| placeholder.to_owned());
            }
        }
    }

    /// The text with the placeholders again.
    pub fn hide_in(&self, text: &mut String) {
        self.hide_forms(text, str::to_owned);
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
        for (placeholder, secret) in self.0.iter().filter(|(_, secret)| secret.len() >= LEAST) {
            let secret = form(secret);
            if text.contains(&secret) {
                *text = text.replace(&secret, &form(placeholder));
            }
        }
    }
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
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
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
