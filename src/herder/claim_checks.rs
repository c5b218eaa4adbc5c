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
const CHUNK: &str = "io.pipette.transforms.Chunk";
/// What leaves values as they are.
const KEEPS_VALUES: &[&str] = &[
    METADATA,
    CHUNK,
    "io.pipette.transforms.Split",
    "org.apache.kafka.connect.transforms.InsertHeader",
    "org.apache.kafka.connect.transforms.DropHeaders",
    "org.apache.kafka.connect.transforms.RegexRouter",
    "org.apache.kafka.connect.transforms.TimestampRouter",
];
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
    let plan = Way { config, steps: aliases.iter().map(|alias| (alias.as_str(), class(alias))).collect() };
    let mut errors = if raw { plan.no_bytes() } else { plan.handles() };
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

/// The way of a record from the source to the converter of values.
struct Way<'a> {
    config: &'a ConfigMap,
    /// Aliases and what they are, as far as somebody knows them.
    steps: Vec<(&'a str, Option<&'static str>)>,
}

impl Way<'_> {
    fn says(&self, key: &str, value: &str) -> bool {
        self.config.get(key).is_some_and(|text| text.trim() == value)
    }

    /// What leaves a struct, a map or a text for a converter that takes bytes only. Another step behind may make bytes of it.
    fn no_bytes(&self) -> Vec<(String, String)> {
        let keeps = |class: Option<&'static str>| class.is_some_and(|class| KEEPS_VALUES.contains(&class));
        let behind = self.steps.iter().rposition(|(_, class)| !keeps(*class));
        let Some(at) = behind else {
            let mode = ["claim-check", "metadata"].into_iter().find(|mode| self.says("output.mode", mode));
            return Vec::from_iter(mode.map(|mode| {
                let why = format!(
                    "output.mode={mode} makes structs, which ByteArrayConverter does not write: set value.converter to \
                     org.apache.kafka.connect.json.JsonConverter"
                );
                ("output.mode".to_owned(), why)
            }));
        };
        let (alias, Some(CLAIM_CHECK)) = self.steps[at] else { return Vec::new() };
        let step = Step { alias, config: self.config, class: CLAIM_CHECK };
        let found = |key: &str, what: &str, instead: &str| {
            let why = format!(
                "Transformation \"{alias}\" makes {what} of a value, which ByteArrayConverter does not write: {instead}"
            );
            vec![(step.key(key), why)]
        };
        match step.text("reference.format").unwrap_or("native") {
            "native" if step.is_whole() && step.text("value.mode") != Some("header-only") => found(
                "value.mode",
                "a struct",
                "set value.mode=header-only for bytes alone, or value.converter to \
                 org.apache.kafka.connect.json.JsonConverter",
            ),
            "sqs" | "kaf-s3" => found(
                "reference.format",
                "a text",
                "set value.converter to org.apache.kafka.connect.storage.StringConverter",
            ),
            _ => Vec::new(),
        }
    }

    /// Files that are to be cut, before a converter that would have to hold them whole.
    fn handles(&self) -> Vec<(String, String)> {
        let only = self.steps.iter().all(|(_, class)| matches!(class, Some(CHUNK | METADATA)));
        let cut = self.steps.last().filter(|(_, class)| *class == Some(CHUNK));
        let Some((alias, _)) = cut.filter(|_| only && self.says("output.mode", "whole")) else { return Vec::new() };
        let why = format!(
            "Transformation \"{alias}\" cuts files of any size only if value.converter hands bytes on as they are: set it to \
             {RAW}"
        );
        vec![(format!("transforms.{alias}.type"), why)]
    }
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
        step(CHUNK, &["Chunk"]),
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

    /// What is wrong with these keys of a source, and where.
    fn of_source(converter: &str, keys: &[(&str, &str)]) -> Vec<(String, String)> {
        let config: ConfigMap = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let aliases = Vec::<String>::from_text(config.get("transforms").map_or("", String::as_str)).unwrap();
        errors(&Plugins::of(&[PLUGINS, crate::convert::PLUGINS]), &config, &aliases, converter)
    }

    #[test]
    fn what_is_no_bytes_is_refused_before_a_converter_of_bytes() {
        let chain = |types: &[&'static str], more: &[(&'static str, &'static str)]| {
            let mut keys = vec![("transforms", ["a", "a,b"][types.len() - 1])];
            keys.extend(["transforms.a.type", "transforms.b.type"].into_iter().zip(types.iter().copied()));
            keys.extend(more);
            keys
        };
        let (mode, format) = ("transforms.a.value.mode", "transforms.a.reference.format");
        for (keys, key, told) in [
            (chain(&["ClaimCheck"], &[]), mode, "set value.mode=header-only"),
            (chain(&["ClaimCheck", "ExtractMetadata"], &[("transforms.b.field", "x")]), mode, "makes a struct"),
            (chain(&["ClaimCheck", "Chunk"], &[]), mode, "makes a struct"),
            (chain(&["ClaimCheck"], &[(format, "sqs")]), format, "StringConverter"),
            (chain(&["ClaimCheck"], &[(format, "kaf-s3")]), format, "makes a text"),
            (vec![("output.mode", "metadata")], "output.mode", "output.mode=metadata makes structs"),
            (vec![("output.mode", "claim-check")], "output.mode", "JsonConverter"),
        ] {
            let found = of_source(RAW, &keys);
            assert!(found.len() == 1 && found[0].0 == key && found[0].1.contains(told), "{keys:?}: {found:?}");
            assert_eq!(of_source("JsonConverter", &keys), [], "{keys:?}");
        }
        for fine in [
            chain(&["ClaimCheck"], &[(mode, "header-only")]),
            chain(&["ClaimCheck"], &[(format, "smt-toolkit")]),
            chain(&["ClaimCheck", "Unknown"], &[]),
            vec![("output.mode", "whole")],
        ] {
            assert_eq!(of_source(RAW, &fine), [], "{fine:?}");
        }
    }

    #[test]
    fn files_are_cut_before_a_converter_that_leaves_bytes_alone() {
        let keys = |mode| [("transforms", "c"), ("transforms.c.type", CHUNK), ("output.mode", mode)];
        let found = of_source("JsonConverter", &keys("whole"));
        assert!(found.len() == 1 && found[0].0 == "transforms.c.type" && found[0].1.contains(RAW), "{found:?}");
        assert_eq!((of_source(RAW, &keys("whole")), of_source("JsonConverter", &keys("records"))), (vec![], vec![]));
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
