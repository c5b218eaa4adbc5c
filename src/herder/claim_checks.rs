//! What steps that keep payloads elsewhere, or look into them, say against each other in one chain. `chain_checks.rs` asks.
//!
//! Steps with a predicate on both sides may be for different records, and are left alone.

use pipette_api::ConfigMap;
use pipette_api::config::FromText;
use pipette_store::HEADER;

use crate::plugins::{Family, Plugins};

const CLAIM_CHECK: &str = "io.pipette.transforms.ClaimCheck$Value";
const RESTORE: &str = "io.pipette.transforms.ClaimCheckRestore$Value";
const METADATA: &str = "io.pipette.transforms.ExtractMetadata";
const RAW: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

/// One such step.
struct Step<'a> {
    alias: &'a str,
    config: &'a ConfigMap,
    class: &'static str,
}

impl Step<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.config.get(&format!("transforms.{}.{key}", self.alias)).map(|text| text.trim())
    }

    fn key(&self, key: &str) -> String {
        format!("transforms.{}.{key}", self.alias)
    }

    fn is_key(&self) -> bool {
        self.text("target") == Some("key")
    }

    fn is_whole(&self) -> bool {
        self.text("target").unwrap_or("value") == "value"
    }

    fn fields(&self) -> Vec<String> {
        Vec::<String>::from_text(self.text("fields").unwrap_or_default()).unwrap_or_default()
    }

    fn header(&self) -> &str {
        self.text("header.name").unwrap_or(HEADER)
    }
}

/// What is wrong, each with the key to mend. `converter` is the worker's converter of values.
pub(super) fn errors<'a>(
    plugins: &Plugins,
    config: &'a ConfigMap,
    aliases: &'a [String],
    converter: &str,
) -> Vec<(String, String)> {
    let class = |alias: &str| {
        let class = config.get(&format!("transforms.{alias}.type"))?;
        Some(plugins.find(Family::Transform, class)?.info().class)
    };
    let known = |class: &&str| [CLAIM_CHECK, RESTORE, METADATA].contains(class);
    let step = |alias: &'a String| Some(Step { alias, config, class: class(alias).filter(known)? });
    let steps: Vec<Step<'a>> = aliases.iter().filter_map(step).collect();
    let converter = config.get("value.converter").map_or(converter, String::as_str);
    let raw = plugins.find(Family::Converter, converter).is_none_or(|plugin| plugin.info().class == RAW);
    let mut errors = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        if step.class == CLAIM_CHECK && step.text("reference.format") == Some("bakdata-flag") && !raw {
            let why = "bakdata-flag marks the bytes that Kafka gets: it needs value.converter=ByteArrayConverter";
            errors.push((step.key("reference.format"), why.to_owned()));
        }
        let before = &steps[..place];
        let wrong = before.iter().find_map(|earlier| conflict(earlier, step).map(|(key, why)| (key, why, earlier)));
        if let Some((key, why, earlier)) = wrong {
            errors.push((key, format!("Transformation \"{}\" behind \"{}\": {why}", step.alias, earlier.alias)));
        }
    }
    errors
}

/// The key to mend and why.
fn conflict(earlier: &Step<'_>, later: &Step<'_>) -> Option<(String, String)> {
    if earlier.text("predicate").is_some() && later.text("predicate").is_some() {
        return None;
    }
    let found = |step: &Step<'_>, key: &str, why: &str| Some((step.key(key), why.to_owned()));
    match (earlier.class, later.class) {
        (CLAIM_CHECK, CLAIM_CHECK) if earlier.is_key() && later.is_key() => {
            found(later, "target", "both keep the key elsewhere, and the first has taken it already")
        }
        (CLAIM_CHECK, CLAIM_CHECK) if earlier.is_key() || later.is_key() => same_header(earlier, later),
        (CLAIM_CHECK, CLAIM_CHECK) => match (earlier.is_whole(), later.is_whole()) {
            (true, true) => {
                found(later, "target", "both keep the whole value elsewhere, and the first has taken it already")
            }
            (true, false) => {
                found(later, "fields", "the whole value is kept elsewhere already: no field of it is left")
            }
            (false, true) => found(
                later,
                "target",
                "a value with fields cannot be kept elsewhere as a whole: name further fields instead (target=field)",
            ),
            (false, false) => in_fields(earlier, later),
        },
        (CLAIM_CHECK, METADATA) if earlier.is_whole() && later.text("field").is_none() => {
            found(later, "type", "it would look at the reference, not at the payload: put it in front")
        }
        (METADATA, RESTORE) if earlier.text("field").is_none() => {
            found(earlier, "type", "it looks at the reference, not at the payload: put it behind ClaimCheckRestore")
        }
        _ => None,
    }
}

fn in_fields(earlier: &Step<'_>, later: &Step<'_>) -> Option<(String, String)> {
    let inside =
        |one: &str, other: &str| one == other || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'));
    let taken = earlier.fields();
    let both = |field: &&String| taken.iter().any(|one| inside(one, field) || inside(field, one));
    if let Some(field) = later.fields().iter().find(both) {
        return Some((later.key("fields"), format!("field {field} is kept elsewhere already")));
    }
    same_header(earlier, later)
}

fn same_header(earlier: &Step<'_>, later: &Step<'_>) -> Option<(String, String)> {
    let header = later.header();
    (!header.is_empty() && header == earlier.header()).then(|| {
        (
            later.key("header.name"),
            format!(
                "its references would take the place of those in the header {header}: name all fields in one step, or give \
                 this one another header.name"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use pipette_api::{AsyncTransformPlugin, ConfigDef, ConnectError, Direction, Info, Plugin};

    use super::*;

    static NO_KEYS: ConfigDef = ConfigDef::new(&[]);

    const fn step(class: &'static str, aliases: &'static [&'static str]) -> Plugin {
        Plugin::AsyncTransform(AsyncTransformPlugin {
            info: Info { class, aliases, version: "1", about: "", readme: "", config: &NO_KEYS },
            direction: Direction::Either,
            metrics: &[],
            make: |_, _| Err(ConnectError::fatal("no")),
        })
    }

    static PLUGINS: &[Plugin] = &[
        step(CLAIM_CHECK, &["ClaimCheck"]),
        step(RESTORE, &["ClaimCheckRestore"]),
        step(METADATA, &["ExtractMetadata"]),
    ];

    /// The keys that are wrong in a chain of two, `a` and `b`, of these classes and with these keys.
    fn wrong(classes: [&str; 2], keys: &[(&str, &str)]) -> Vec<String> {
        let types = [("a.type", classes[0]), ("b.type", classes[1])];
        let config: ConfigMap =
            types.iter().chain(keys).map(|(key, value)| (format!("transforms.{key}"), (*value).to_owned())).collect();
        let plugins = Plugins::of(&[PLUGINS, crate::convert::PLUGINS]);
        let json = "org.apache.kafka.connect.json.JsonConverter";
        let found = errors(&plugins, &config, &["a".to_owned(), "b".to_owned()], json);
        found.into_iter().map(|(key, _)| key.replace("transforms.", "")).collect()
    }

    #[test]
    fn two_steps_for_the_same_part_of_a_record_are_refused() {
        let both = ["ClaimCheck", "ClaimCheck"];
        let a = [("a.target", "field"), ("a.fields", "after.image,note")];
        let b = |fields| [("b.target", "field"), ("b.fields", fields)];
        assert_eq!(wrong(both, &[]), ["b.target"]);
        assert_eq!(
            wrong(both, &[("a.predicate", "p"), ("b.predicate", "p"), ("b.negate", "true")]),
            Vec::<String>::new()
        );
        assert_eq!(wrong(both, &[("b.predicate", "p")]), ["b.target"], "the first takes every record");
        assert_eq!(wrong(both, &b("note")), ["b.fields"]);
        assert_eq!(wrong(both, &a), ["b.target"]);
        for (fields, key) in [("note", "b.fields"), ("after", "b.fields"), ("after.image.raw", "b.fields")] {
            assert_eq!(wrong(both, &[a, b(fields)].concat()), [key], "{fields}");
        }
        assert_eq!(wrong(both, &[a, b("after.images")].concat()), ["b.header.name"]);
        let another = [("b.header.name", "others")];
        assert_eq!(wrong(both, &[&a[..], &b("after.images"), &another].concat()), Vec::<String>::new());
    }

    #[test]
    fn a_key_and_a_value_go_together_with_a_header_each() {
        let both = ["ClaimCheck", "ClaimCheck"];
        let key = ("b.target", "key");
        assert_eq!(wrong(both, &[key]), ["b.header.name"]);
        assert_eq!(wrong(both, &[key, ("b.header.name", "claim-check-key")]), Vec::<String>::new());
        assert_eq!(wrong(both, &[("a.target", "key"), key]), ["b.target"]);
        assert_eq!(wrong(["ClaimCheck", "ExtractMetadata"], &[("a.target", "key")]), Vec::<String>::new());
    }

    #[test]
    fn whoever_looks_into_a_payload_stands_where_it_is() {
        assert_eq!(wrong(["ExtractMetadata", "ClaimCheck"], &[]), Vec::<String>::new());
        assert_eq!(wrong(["ClaimCheck", "ExtractMetadata"], &[]), ["b.type"]);
        assert_eq!(wrong(["ClaimCheck", "ExtractMetadata"], &[("b.field", "x")]), Vec::<String>::new());
        assert_eq!(wrong(["ExtractMetadata", "ClaimCheckRestore"], &[]), ["a.type"]);
        assert_eq!(wrong(["ClaimCheckRestore", "ExtractMetadata"], &[]), Vec::<String>::new());
    }

    #[test]
    fn marks_of_others_need_raw_bytes() {
        let marked = [("a.reference.format", "bakdata-flag")];
        let with = |converter: &str| {
            let config: ConfigMap = [
                ("transforms.a.type", "ClaimCheck"),
                ("transforms.a.reference.format", "bakdata-flag"),
                ("value.converter", converter),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
            errors(&Plugins::of(&[PLUGINS, crate::convert::PLUGINS]), &config, &["a".to_owned()], "JsonConverter").len()
        };
        assert_eq!(wrong(["ClaimCheck", "Unknown"], &marked), ["a.reference.format"]);
        assert_eq!((with(RAW), with("ByteArrayConverter"), with("StringConverter")), (0, 0, 1));
    }
}
