//! The keys every connector has besides its plugin's own, in the order and groups of Apache's validate answer.
//!
//! `herder/validate.rs` answers with them, `herder/spec.rs` makes tasks of a [`ConnectorConfig`].

use std::time::Duration;

use pipette_api::config::checks::{at_least, one_of, one_of_any_case};
use pipette_api::config::key::{ClassName, FromText, Importance, Width};
use pipette_api::{ConfigDef, ConfigMap, ConnectError, Key, Result, Settings};

use super::dead_letters::{self, DeadLetterTopic};
pub use super::large::{INLINE, MEMORY_CAP};
use super::parts;

/// `name`.
pub static NAME: Key<String> = Key::new("name", "The connector's name, unique on this worker.")
    .importance(Importance::High)
    .group("Common")
    .width(Width::Medium)
    .display("Connector name")
    .check(name);
/// `connector.class`.
pub static CLASS: Key<String> =
    Key::new("connector.class", "The plugin: its class, its simple name, or that name without `Connector`.")
        .importance(Importance::High)
        .group("Common")
        .width(Width::Long)
        .display("Connector class");
/// `connector.plugin.version`.
pub static VERSION: Key<String> =
    version("connector.plugin.version", "Connector version").importance(Importance::Medium).width(Width::Medium);
/// `tasks.max`.
pub static TASKS_MAX: Key<i32> = Key::new("tasks.max", "How many tasks the connector may have at most.")
    .default("1")
    .importance(Importance::High)
    .group("Common")
    .width(Width::Short)
    .display("Tasks max")
    .check(at_least::<1>);
/// `tasks.max.enforce`.
pub static ENFORCE: Key<bool> =
    Key::new("tasks.max.enforce", "Whether a connector that plans more tasks than `tasks.max` fails.")
        .default("true")
        .importance(Importance::Low)
        .group("Common")
        .width(Width::Short)
        .display("Enforce tasks max");
/// `key.converter`.
pub static KEY_CONVERTER: Key<ClassName> = converter("key.converter", "Key converter class");
/// `key.converter.plugin.version`.
pub static KEY_CONVERTER_VERSION: Key<String> = version("key.converter.plugin.version", "Key converter version");
/// `value.converter`.
pub static VALUE_CONVERTER: Key<ClassName> = converter("value.converter", "Value converter class");
/// `value.converter.plugin.version`.
pub static VALUE_CONVERTER_VERSION: Key<String> = version("value.converter.plugin.version", "Value converter version");
/// `header.converter`.
pub static HEADER_CONVERTER: Key<ClassName> = converter("header.converter", "Header converter class");
/// `header.converter.plugin.version`.
pub static HEADER_CONVERTER_VERSION: Key<String> =
    version("header.converter.plugin.version", "Header converter version");
/// `transforms`.
pub static TRANSFORMS: Key<Vec<String>> =
    Key::new("transforms", "Names of the transformations, in order; each is set up by `transforms.<name>.…`.")
        .default("")
        .importance(Importance::Low)
        .group("Transforms")
        .width(Width::Long)
        .display("Transforms");
/// `predicates`.
pub static PREDICATES: Key<Vec<String>> =
    Key::new("predicates", "Names of the predicates; each is set up by `predicates.<name>.…`.")
        .default("")
        .importance(Importance::Low)
        .group("Predicates")
        .width(Width::Long)
        .display("Predicates");
/// `config.action.reload`.
pub static RELOAD: Key<String> =
    Key::new("config.action.reload", "No effect: no config provider here gives values that end by time.")
        .default("restart")
        .importance(Importance::Low)
        .group("Common")
        .width(Width::Medium)
        .display("Reload Action")
        .check(|text| given_one_of(text, &["none", "restart"]));
static RETRY_TIMEOUT: Key<i64> =
    Key::new("errors.retry.timeout", "How long a failed step is tried again, in milliseconds; -1 without end.")
        .default("0")
        .group("Error Handling")
        .width(Width::Medium)
        .display("Retry Timeout for Errors");
static RETRY_DELAY: Key<i64> =
    Key::new("errors.retry.delay.max.ms", "The longest wait between two tries, in milliseconds.")
        .default("60000")
        .group("Error Handling")
        .width(Width::Medium)
        .display("Maximum Delay Between Retries for Errors");
/// `errors.tolerance`.
pub static TOLERANCE: Key<String> =
    Key::new("errors.tolerance", "`none`: a bad record fails the task. `all`: it is skipped and counted.")
        .default("none")
        .group("Error Handling")
        .width(Width::Short)
        .display("Error Tolerance")
        .check(|text| given_one_of(text, &["none", "all"]));
static LOG: Key<bool> = Key::new("errors.log.enable", "Whether each error is logged with what was being done.")
    .default("false")
    .group("Error Handling")
    .width(Width::Short)
    .display("Log Errors");
static LOG_MESSAGES: Key<bool> =
    Key::new("errors.log.include.messages", "Whether the log of an error says which record it was.")
        .default("false")
        .group("Error Handling")
        .width(Width::Short)
        .display("Log Error Details");
/// `topic.creation.groups`.
pub static TOPIC_GROUPS: Key<Vec<String>> =
    Key::new("topic.creation.groups", "Names of groups of topics that are created alike.")
        .default("")
        .importance(Importance::Low)
        .group("Topic Creation")
        .width(Width::Long)
        .display("Topic Creation Groups");
/// `exactly.once.support`.
pub static EXACTLY_ONCE: Key<String> =
    Key::new("exactly.once.support", "`required` refuses a connector that cannot deliver exactly once.")
        .default("requested")
        .group("Exactly Once Support")
        .width(Width::Short)
        .display("Exactly once support")
        .check(|text| given(text).and_then(|()| one_of_any_case(text, &["requested", "required"])));
/// `transaction.boundary`.
pub static BOUNDARY: Key<String> =
    Key::new("transaction.boundary", "What ends a transaction: each poll, an interval, or the connector.")
        .default("poll")
        .group("Exactly Once Support")
        .width(Width::Short)
        .display("Transaction Boundary")
        .check(|text| given(text).and_then(|()| one_of_any_case(text, &["poll", "interval", "connector"])));
static BOUNDARY_INTERVAL: Key<i64> =
    Key::new("transaction.boundary.interval.ms", "The length of a transaction with `transaction.boundary=interval`.")
        .optional()
        .importance(Importance::Low)
        .group("Exactly Once Support")
        .width(Width::Short)
        .display("Transaction boundary interval")
        .check(|text| text.map_or(Ok(()), |text| at_least::<0>(Some(text))));
pub static OFFSETS_TOPIC: Key<String> = Key::new(
    "offsets.storage.topic",
    "A topic of the connector's own for its offsets, when the worker keeps offsets in a topic; made if it is missing.",
)
.optional()
.importance(Importance::Low)
.group("offsets.topic")
.width(Width::Long)
.display("Offsets topic")
.check(pipette_api::config::checks::not_empty);
/// `topics`.
pub static TOPICS: Key<Vec<String>> = Key::new("topics", "The topics to read, separated by commas.")
    .default("")
    .importance(Importance::High)
    .group("Common")
    .width(Width::Long)
    .display("Topics");
/// `topics.regex`.
pub static TOPICS_REGEX: Key<String> =
    Key::new("topics.regex", "A pattern; topics whose whole name matches are read. Instead of `topics`.")
        .default("")
        .importance(Importance::High)
        .group("Common")
        .width(Width::Long)
        .display("Topics regex");
/// Keys that Apache's worker does not have: REST lists them only where they are used, because clients know how many keys
/// an answer to validate has.
pub static ADDED: ConfigDef = ConfigDef::new(&[&MEMORY_CAP.info, &INLINE.info]);

const fn converter(name: &'static str, display: &'static str) -> Key<ClassName> {
    Key::new(name, "The converter; the worker's own when left out. Its settings follow under the key's name.")
        .optional()
        .importance(Importance::Low)
        .group("Common")
        .width(Width::Short)
        .display(display)
}

const fn version(name: &'static str, display: &'static str) -> Key<String> {
    Key::new(name, "The version the plugin must have: one version, a range such as `[1.0,2.0)`, or `latest`.")
        .optional()
        .importance(Importance::Low)
        .group("Common")
        .width(Width::Short)
        .display(display)
}

/// The keys of sources and sinks.
pub static COMMON: ConfigDef = ConfigDef::new(&[
    &NAME.info,
    &CLASS.info,
    &VERSION.info,
    &TASKS_MAX.info,
    &ENFORCE.info,
    &KEY_CONVERTER.info,
    &KEY_CONVERTER_VERSION.info,
    &VALUE_CONVERTER.info,
    &VALUE_CONVERTER_VERSION.info,
    &HEADER_CONVERTER.info,
    &HEADER_CONVERTER_VERSION.info,
    &TRANSFORMS.info,
    &PREDICATES.info,
    &RELOAD.info,
    &RETRY_TIMEOUT.info,
    &RETRY_DELAY.info,
    &TOLERANCE.info,
    &LOG.info,
    &LOG_MESSAGES.info,
]);

/// The further keys of sources.
pub static SOURCE: ConfigDef = ConfigDef::new(&[
    &TOPIC_GROUPS.info,
    &EXACTLY_ONCE.info,
    &BOUNDARY.info,
    &BOUNDARY_INTERVAL.info,
    &OFFSETS_TOPIC.info,
]);

/// The further keys of sinks.
pub static SINK: ConfigDef = ConfigDef::new(&[
    &TOPICS.info,
    &TOPICS_REGEX.info,
    &dead_letters::NAME.info,
    &dead_letters::COPIES.info,
    &dead_letters::CONTEXT.info,
]);

/// What is read here needs a definition that knows all of it.
static ALL: ConfigDef = ConfigDef::new(&[
    &BOUNDARY.info,
    &BOUNDARY_INTERVAL.info,
    &TASKS_MAX.info,
    &ENFORCE.info,
    &KEY_CONVERTER.info,
    &VALUE_CONVERTER.info,
    &HEADER_CONVERTER.info,
    &TRANSFORMS.info,
    &PREDICATES.info,
    &RETRY_TIMEOUT.info,
    &RETRY_DELAY.info,
    &TOLERANCE.info,
    &LOG.info,
    &LOG_MESSAGES.info,
    &TOPICS.info,
    &TOPICS_REGEX.info,
    &dead_letters::NAME.info,
    &dead_letters::COPIES.info,
    &dead_letters::CONTEXT.info,
    &dead_letters::REFUSALS.info,
    &TYPE.info,
    &PREDICATE.info,
    &MEMORY_CAP.info,
    &INLINE.info,
]);

/// `transforms.<name>.type` and `predicates.<name>.type`.
pub static TYPE: Key<ClassName> = Key::new("type", "The plugin: its class or a short name that means it alone.")
    .importance(Importance::High)
    .width(Width::Long);
/// `transforms.<name>.plugin.version` and `predicates.<name>.plugin.version`.
pub static LINK_VERSION: Key<String> = version("plugin.version", "").importance(Importance::High).width(Width::Long);
/// `transforms.<name>.predicate`.
pub static PREDICATE: Key<String> =
    Key::new("predicate", "The predicate that decides whether the transformation applies.").optional();
/// `transforms.<name>.negate`.
pub static NEGATE: Key<bool> = Key::new("negate", "Whether the predicate's answer is turned round.").default("false");

fn given(text: Option<&str>) -> std::result::Result<(), String> {
    text.map(drop).ok_or_else(|| "Value must be non-null".into())
}

/// One of the values; Java's check refuses null as well.
fn given_one_of(text: Option<&str>, allowed: &[&str]) -> std::result::Result<(), String> {
    one_of(Some(text.unwrap_or_default()), allowed)
}

fn name(text: Option<&str>) -> std::result::Result<(), String> {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return Err("String may not be empty".into());
    }
    let controls: Vec<String> =
        text.chars().filter(|char| char.is_control()).map(|c| u32::from(c).to_string()).collect();
    if controls.is_empty() {
        return Ok(());
    }
    Err(format!("String may not contain control sequences but had the following ASCII chars: {}", controls.join(", ")))
}

/// The keys of every connector, read.
#[derive(Debug, Clone)]
pub struct ConnectorConfig {
    /// The connector's own converters: class and settings.
    pub key_converter: Option<Part>,
    /// For values.
    pub value_converter: Option<Part>,
    /// For headers.
    pub header_converter: Option<Part>,
    /// `transforms`, in order.
    pub transforms: Vec<Step>,
    /// `errors.refusals.in.a.row.max`.
    pub refusals_max: usize,
    /// `errors.tolerance=all`.
    pub tolerate: bool,
    /// `errors.retry.timeout`; `None` is without end.
    pub retry_timeout: Option<Duration>,
    /// `errors.retry.delay.max.ms`.
    pub retry_delay_max: Duration,
    /// `errors.log.enable`.
    pub log: bool,
    /// `errors.log.include.messages`.
    pub log_messages: bool,
    /// `transaction.boundary`, in lower case.
    pub boundary: String,
    /// `transaction.boundary.interval.ms`.
    pub boundary_interval: Option<Duration>,
    /// `topics`.
    pub topics: Vec<String>,
    /// `topics.regex`.
    pub topics_regex: String,
    /// Where dead letters go.
    pub dead_letters: Option<DeadLetterTopic>,
    /// `memory.max.bytes`.
    pub memory_cap: Option<u64>,
    /// `payload.inline.max.bytes`.
    pub inline: Option<u64>,
}

/// `offsets.storage.topic` of a source.
pub fn offsets_topic(config: &ConfigMap) -> Option<&str> {
    config.get(OFFSETS_TOPIC.info.name).map(|name| name.trim()).filter(|name| !name.is_empty())
}

/// `tasks.max`, and whether a connector that plans more fails.
pub fn task_limit(config: &ConfigMap) -> Result<(usize, bool)> {
    let settings = Settings::new(config.clone(), &ALL);
    let max = usize::try_from(settings.get(&TASKS_MAX)?).unwrap_or(1);
    Ok((max, settings.get(&ENFORCE)?))
}

/// A plugin a connector uses: its class and its settings, prefix taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The class or another name for it.
    pub class: String,
    /// Its settings.
    pub settings: ConfigMap,
}

/// One transformation of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name in `transforms`.
    pub alias: String,
    /// The transformation.
    pub part: Part,
    /// The predicate and whether its answer is turned round.
    pub predicate: Option<(Part, bool)>,
}

impl ConnectorConfig {
    /// Reads the keys every connector has. The error names the key to mend.
    pub fn read(config: &ConfigMap) -> Result<Self> {
        let settings = Settings::new(config.clone(), &ALL);
        let millis = |value: i64| Duration::from_millis(value.unsigned_abs());
        let retry = settings.get(&RETRY_TIMEOUT)?;
        let predicates = settings.get(&PREDICATES)?;
        Ok(Self {
            key_converter: part_of(&settings, &KEY_CONVERTER)?,
            value_converter: part_of(&settings, &VALUE_CONVERTER)?,
            header_converter: part_of(&settings, &HEADER_CONVERTER)?,
            transforms: unique(settings.get(&TRANSFORMS)?)
                .into_iter()
                .map(|alias| step(&settings, alias, &predicates))
                .collect::<Result<_>>()?,
            refusals_max: usize::try_from(settings.get(&dead_letters::REFUSALS)?).unwrap_or(usize::MAX),
            tolerate: settings.get(&TOLERANCE)?.eq_ignore_ascii_case("all"),
            retry_timeout: (retry >= 0).then(|| millis(retry)),
            retry_delay_max: millis(settings.get(&RETRY_DELAY)?.max(0)),
            log: settings.get(&LOG)?,
            log_messages: settings.get(&LOG_MESSAGES)?,
            boundary: settings.get(&BOUNDARY)?.to_lowercase(),
            boundary_interval: settings.find(&BOUNDARY_INTERVAL)?.map(millis),
            topics: unique(settings.get(&TOPICS)?),
            topics_regex: settings.get(&TOPICS_REGEX)?,
            dead_letters: DeadLetterTopic::read(&settings)?,
            memory_cap: settings.find(&MEMORY_CAP)?,
            inline: settings.find(&INLINE)?,
        })
    }
}

/// Elements once each, in order, empty ones left out: what Java does when a list is loaded.
fn unique(list: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    list.into_iter().filter(|element| !element.is_empty() && seen.insert(element.clone())).collect()
}

fn part_of(settings: &Settings, key: &Key<ClassName>) -> Result<Option<Part>> {
    let below = || settings.below(&format!("{}.", key.info.name));
    Ok(settings.find(key)?.map(|class| Part { class: class.0, settings: below() }))
}

fn step(settings: &Settings, alias: String, known: &[String]) -> Result<Step> {
    let part = named(settings, "transforms", &alias)?;
    let own = Settings::new(part.settings.clone(), &ALL);
    let Some(predicate) = own.find(&PREDICATE)? else {
        return Ok(Step { alias, part, predicate: None });
    };
    if let Some(error) = parts::undeclared(&alias, &predicate, known) {
        return Err(ConnectError::config(error));
    }
    // Anything but true is false, as in Java.
    let negate = own.raw("negate").and_then(|text| bool::from_text(text.trim()).ok()).unwrap_or(false);
    let predicate = named(settings, "predicates", &predicate)?;
    Ok(Step { alias, part, predicate: Some((predicate, negate)) })
}

fn named(settings: &Settings, list: &str, alias: &str) -> Result<Part> {
    let own = settings.below(&format!("{list}.{alias}."));
    let class = Settings::new(own.clone(), &ALL)
        .get(&TYPE)
        .map_err(|_| ConnectError::config(format!("{list}.{alias}.type is missing: it names the plugin")))?;
    Ok(Part { class: class.0, settings: own })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ConnectorConfig> {
        ConnectorConfig::read(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_chain_is_read_with_its_predicates() {
        let config = read(&[
            ("transforms", "a,b,a"),
            ("transforms.a.type", "Mask"),
            ("transforms.a.fields", "x"),
            ("transforms.b.type", "Filter"),
            ("transforms.b.predicate", "p"),
            ("transforms.b.negate", "TRUE"),
            ("predicates", "p"),
            ("predicates.p.type", "Tombstone"),
        ])
        .unwrap();
        assert_eq!(config.transforms.len(), 2, "an alias given twice counts once");
        assert_eq!(config.transforms[0].part.settings["fields"], "x");
        let (predicate, negate) = config.transforms[1].predicate.clone().unwrap();
        assert_eq!((predicate.class.as_str(), negate), ("Tombstone", true));
    }

    #[test]
    fn what_is_missing_is_named() {
        let step = [("transforms", "a"), ("transforms.a.type", "F"), ("transforms.a.predicate", "q")];
        for (predicates, why) in [
            ("p,r", "which is not among predicates=p,r; add it there and set predicates.q.type"),
            ("", "and there are no predicates; set predicates=q and set predicates.q.type"),
        ] {
            let error = read(&[&step[..], &[("predicates", predicates)]].concat()).unwrap_err().to_string();
            assert_eq!(error, format!("transforms.a.predicate is \"q\", {why}"));
        }
        let error = read(&[("transforms", "a")]).unwrap_err().to_string();
        assert_eq!(error, "transforms.a.type is missing: it names the plugin");
    }

    #[test]
    fn retries_without_end_and_defaults() {
        let config = read(&[("errors.retry.timeout", "-1"), ("key.converter", "K"), ("key.converter.x", "1")]).unwrap();
        assert_eq!(config.retry_timeout, None);
        assert_eq!(config.key_converter.unwrap().settings["x"], "1");
        assert!(!config.tolerate);
        assert_eq!(task_limit(&ConfigMap::new()).unwrap(), (1, true));
        assert_eq!(read(&[]).unwrap().retry_timeout, Some(Duration::ZERO));
    }

    #[test]
    fn names_have_javas_rules() {
        assert_eq!(name(Some("ok")), Ok(()));
        assert_eq!(name(Some("  ")), Err("String may not be empty".into()));
        assert!(name(Some("a\u{1}b\u{7}")).unwrap_err().ends_with("ASCII chars: 1, 7"));
    }
}
