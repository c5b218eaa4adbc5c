//! Laws S1–S4 of every plugin: what its configuration owes to whoever writes one.
//!
//! Called from each plugin's `tests/acceptance.rs` with its `Info` and the smallest configuration that works. A broken
//! law panics with the plugin, the key and what was found. Read next: `transform_laws.rs`.

use std::collections::BTreeSet;

use pipette_api::config::{Checked, KeyInfo, KeyType, Presence};
use pipette_api::{ConfigMap, Info};

/// A configuration as a list of keys and values.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// S1 to S4 in one call, for plugins whose laws need no telling apart.
pub fn hold(info: &Info, smallest: Pairs<'_>) {
    s1_smallest_config_validates(info, smallest);
    s2_missing_key_is_named(info, smallest);
    s3_wrong_type_is_named(info, smallest);
    s4_every_key_is_documented(info);
}

/// S1: the smallest configuration has no error, and it is the smallest: nothing can be left out.
pub fn s1_smallest_config_validates(info: &Info, smallest: Pairs<'_>) {
    let config = map(smallest);
    let found = errors(info, &config);
    assert!(found.is_empty(), "S1: the smallest configuration of {} has errors: {found:?}", info.class);
    for (key, _) in smallest {
        let mut less = config.clone();
        less.remove(*key);
        assert!(
            !errors(info, &less).is_empty(),
            "S1: {} works without {key}, so it is not in the smallest",
            info.class
        );
    }
}

/// S2: each required key that is missing is an error on that key and on no other.
pub fn s2_missing_key_is_named(info: &Info, smallest: Pairs<'_>) {
    for key in info.config.keys().iter().filter(|key| key.presence == Presence::Required) {
        let mut config = map(smallest);
        config.remove(key.name);
        blamed("S2", "a missing value", info, key, &config);
    }
}

/// S3: a value that is not of the key's type is an error on that key and on no other. Texts, lists, class names and
/// passwords take any text.
pub fn s3_wrong_type_is_named(info: &Info, smallest: Pairs<'_>) {
    for key in info.config.keys() {
        let wrong = match key.kind {
            KeyType::Boolean => "perhaps",
            KeyType::Int | KeyType::Short | KeyType::Long | KeyType::Double => "a few",
            KeyType::String | KeyType::List | KeyType::Class | KeyType::Password => continue,
        };
        let mut config = map(smallest);
        config.insert(key.name.to_owned(), wrong.to_owned());
        blamed("S3", wrong, info, key, &config);
    }
}

/// S4: every key is listed once, says in a sentence what it does, has a default and recommended values that are
/// allowed, and names dependents that exist.
pub fn s4_every_key_is_documented(info: &Info) {
    let mut seen = BTreeSet::new();
    for key in info.config.keys() {
        let name = key.name;
        let law = |holds: bool, what: &str| assert!(holds, "S4: {} key {name} {what}", info.class);
        law(seen.insert(name), "is listed twice");
        law(key.doc.len() > 8 && key.doc.ends_with(['.', ')', '`']), "has no sentence that documents it");
        law(!name.is_empty() && !name.contains(char::is_whitespace), "is not a name users can write");
        if let Presence::Default(text) = key.presence {
            law(allowed(key, text), "has a default that is not allowed");
        }
        law(key.recommended.iter().all(|value| allowed(key, value)), "recommends a value that is not allowed");
        law(key.dependents.iter().all(|other| info.config.key(other).is_some()), "has a dependent that is no key");
    }
}

fn allowed(key: &KeyInfo, text: &str) -> bool {
    (key.parse)(text).is_ok() && (key.check)(Some(text)).is_ok()
}

fn blamed(law: &str, what: &str, info: &Info, key: &KeyInfo, config: &ConfigMap) {
    let found = errors(info, config);
    let named = found.iter().any(|(name, _)| name == key.name);
    assert!(named, "{law}: {what} for {} of {} is no error", key.name, info.class);
    for (name, error) in &found {
        assert!(name == key.name, "{law}: {what} for {} of {} blames {name}: {error}", key.name, info.class);
        assert!(error.contains(key.name), "{law}: the error of {} does not name its key: {error}", info.class);
    }
}

/// Every error with the key it stands at.
fn errors(info: &Info, config: &ConfigMap) -> Vec<(String, String)> {
    let at_key = |Checked { row, errors, .. }| errors.into_iter().map(move |error| (Clone::clone(&row.name), error));
    info.config.check(config).into_iter().flat_map(at_key).collect()
}

fn map(pairs: Pairs<'_>) -> ConfigMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use pipette_api::config::checks;
    use pipette_api::{ConfigDef, Key};

    use super::*;

    static NAME: Key<String> = Key::new("name", "A name of something.");
    static SIZE: Key<i32> = Key::new("size", "How large it is.").default("1").check(checks::at_least::<1>);
    static GOOD: ConfigDef = ConfigDef::new(&[&NAME.info, &SIZE.info]);

    fn info(config: &'static ConfigDef) -> Info {
        Info { class: "Toy", aliases: &[], version: "1", about: "", readme: "", config }
    }

    #[test]
    fn a_good_plugin_passes() {
        hold(&info(&GOOD), &[("name", "x")]);
    }

    #[test]
    #[should_panic(expected = "S1: the smallest configuration of Toy has errors")]
    fn s1_fails_without_a_required_key() {
        s1_smallest_config_validates(&info(&GOOD), &[]);
    }

    #[test]
    #[should_panic(expected = "S1: Toy works without size")]
    fn s1_fails_with_more_than_the_smallest() {
        s1_smallest_config_validates(&info(&GOOD), &[("name", "x"), ("size", "2")]);
    }

    #[test]
    #[should_panic(expected = "S2: a missing value for name of Toy blames other")]
    fn s2_fails_when_another_key_is_blamed() {
        static OTHER: Key<String> = Key::new("other", "Always wrong here.").optional().check(|_| Err("no".into()));
        static BLAMES: ConfigDef = ConfigDef::new(&[&NAME.info, &OTHER.info]);
        s2_missing_key_is_named(&info(&BLAMES), &[("name", "x")]);
    }

    #[test]
    #[should_panic(expected = "S3: perhaps for flag of Toy is no error")]
    fn s3_fails_for_a_parser_that_takes_anything() {
        static LAX: KeyInfo = KeyInfo { parse: |_| Ok(()), ..Key::<bool>::new("flag", "True or false.").info };
        static CONFIG: ConfigDef = ConfigDef::new(&[&LAX]);
        s3_wrong_type_is_named(&info(&CONFIG), &[("flag", "true")]);
    }

    #[test]
    #[should_panic(expected = "S4: Toy key size has a default that is not allowed")]
    fn s4_fails_for_a_bad_default() {
        static BAD: Key<i32> = Key::new("size", "How large it is.").default("0").check(checks::at_least::<1>);
        static CONFIG: ConfigDef = ConfigDef::new(&[&BAD.info]);
        s4_every_key_is_documented(&info(&CONFIG));
    }

    #[test]
    #[should_panic(expected = "S4: Toy key size has no sentence")]
    fn s4_fails_without_documentation() {
        static BAD: Key<i32> = Key::new("size", "");
        static CONFIG: ConfigDef = ConfigDef::new(&[&BAD.info]);
        s4_every_key_is_documented(&info(&CONFIG));
    }
}
