//! Keys below converters, transformations and predicates that change nothing: misspelt ones, and those of parts that
//! nobody uses. `unused.rs` tells them. And predicates that are used and declared nowhere, which is an error.

use std::collections::BTreeMap;

use pipette_api::{ConfigDef, ConfigMap, Info};
use pipette_store::{OPTIONS_PREFIX, URI};

use super::connector;
use super::nearest::{meant, near_key};

/// Who reads the keys with each beginning, such as `transforms.a.`; `None` for a class that nobody knows.
pub type Owners = BTreeMap<String, Option<&'static Info>>;

/// What keys of parts begin with.
pub(super) const BELOW: &[&str] =
    &["transforms.", "predicates.", "key.converter.", "value.converter.", "header.converter."];

/// What a worker file says in vain below its converters.
pub fn of_worker(values: &ConfigMap, converters: &Owners) -> Vec<String> {
    let theirs = |key: &&String| converters.keys().any(|prefix| key.starts_with(prefix));
    values.keys().filter(theirs).filter_map(|key| in_vain(key, converters)).collect()
}

/// Why a key changes nothing, if it does not.
pub(super) fn in_vain(key: &str, owners: &Owners) -> Option<String> {
    let mut beginnings = key.match_indices('.').map(|(end, _)| &key[..=end]).rev();
    let Some((prefix, info)) = beginnings.find_map(|beginning| owners.get_key_value(beginning)) else {
        return Some(nobodys(key, owners));
    };
    let (name, info) = (&key[prefix.len()..], (*info)?);
    let of_kind: &[&str] = match prefix.split('.').next() {
        Some("transforms") => &["type", "plugin.version", "predicate", "negate"],
        Some("predicates") => &["type", "plugin.version"],
        _ => &["plugin.version", "converter.type"],
    };
    if info.config.key(name).is_some() || of_kind.contains(&name) || is_store_option(info.config, name) {
        return None;
    }
    let known = info.config.keys().iter().map(|key| key.name).chain(of_kind.iter().copied());
    let hint = near_key(name, known).map_or_else(String::new, |near| format!(". Did you mean {prefix}{near}?"));
    Some(format!("{key} is no key of {} and has no effect{hint}", info.class))
}

/// Options of a store are as many as its client has; whoever has a store checks their names.
pub(super) fn is_store_option(of: &ConfigDef, name: &str) -> bool {
    name.starts_with(OPTIONS_PREFIX) && of.key(URI.info.name).is_some()
}

/// The key of a part that the connector does not use.
fn nobodys(key: &str, owners: &Owners) -> String {
    let (list, rest) = key.split_once('.').unwrap_or((key, ""));
    if ![connector::TRANSFORMS.info.name, connector::PREDICATES.info.name].contains(&list) {
        return format!(
            "{key} has no effect: the connector names no {list}.converter, so that the worker's is used, with the worker's \
             keys"
        );
    }
    let alias = rest.split('.').next().unwrap_or(rest);
    let named = owners.keys().filter_map(|prefix| prefix.strip_prefix(list)?.strip_prefix('.')?.strip_suffix('.'));
    format!("{key} has no effect: {list} does not name {alias}{}", meant(alias, named))
}

/// What is wrong with the predicate of a transformation if it is none of `predicates`.
pub fn undeclared(alias: &str, predicate: &str, known: &[String]) -> Option<String> {
    if known.iter().any(|known| known == predicate) {
        return None;
    }
    let why = if known.is_empty() {
        format!("and there are no predicates; set predicates={predicate}")
    } else {
        format!("which is not among predicates={}; add it there", known.join(","))
    };
    Some(format!("transforms.{alias}.predicate is \"{predicate}\", {why} and set predicates.{predicate}.type"))
}

#[cfg(test)]
mod tests {
    use pipette_api::Key;

    use super::*;

    static FIELD: Key<String> = Key::new("field", "The field.");
    static SCHEMAS: Key<bool> = Key::new("schemas.enable", "Whether.").default("true");
    static KEYS: ConfigDef = ConfigDef::new(&[&FIELD.info, &SCHEMAS.info]);
    static INFO: Info = Info { class: "org.x.Part", aliases: &[], version: "1", about: "", readme: "", config: &KEYS };

    #[test]
    fn options_of_a_store_are_keys_of_what_has_one() {
        static KEEPS: ConfigDef = ConfigDef::new(&[&URI.info]);
        static KEEPER: Info =
            Info { class: "org.x.Keeper", aliases: &[], version: "1", about: "", readme: "", config: &KEEPS };
        let owners: Owners = [("transforms.keep.", &KEEPER), ("transforms.x.", &INFO)]
            .map(|(prefix, info)| (prefix.to_owned(), Some(info)))
            .into();
        assert_eq!(in_vain("transforms.keep.store.options.aws_region", &owners), None);
        for key in ["transforms.keep.store.option.aws_region", "transforms.x.store.options.aws_region"] {
            assert!(in_vain(key, &owners).is_some_and(|told| told.contains("has no effect")), "{key}");
        }
    }

    #[test]
    fn misspelt_keys_of_parts_are_told_and_those_of_nobody() {
        let owners = ["transforms.x.", "transforms.x.y.", "transforms.far.", "predicates.p.", "value.converter."];
        let mut owners: Owners = owners.map(|prefix| (prefix.to_owned(), Some(&INFO))).into();
        owners.insert("transforms.unknown.".into(), None);
        for fine in [
            "transforms.x.field",
            "transforms.x.y.field",
            "transforms.x.predicate",
            "transforms.unknown.anything",
            "predicates.p.type",
            "value.converter.schemas.enable",
            "value.converter.plugin.version",
        ] {
            assert_eq!(in_vain(fine, &owners), None, "{fine}");
        }
        for (key, why) in [
            ("transforms.x.feild", "is no key of org.x.Part and has no effect. Did you mean transforms.x.field?"),
            ("transforms.x.y.fields", "Did you mean transforms.x.y.field?"),
            ("predicates.p.negate", "is no key of org.x.Part and has no effect"),
            ("value.converter.schemas.enabled", "Did you mean value.converter.schemas.enable?"),
            ("key.converter.schemas.enable", "has no effect: the connector names no key.converter"),
            ("transforms.fra.field", "has no effect: transforms does not name fra. Did you mean far?"),
            ("predicates.x.type", "has no effect: predicates does not name x"),
        ] {
            let told = in_vain(key, &owners).unwrap_or_default();
            assert!(told.starts_with(key) && told.ends_with(why) || told.contains(why), "{told}");
        }
    }
}
