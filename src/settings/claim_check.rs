//! Where a connector's configuration puts values into object stores: `ClaimCheck` steps, and sources with
//! `output.mode=claim-check`.
//!
//! Read as text, because two sides need it that know no plugin: `task/retention.rs` compares lifetimes, the commands of
//! `claimcheck/` look after what is stored.

use std::time::Duration;

use pipette_api::{ConfigMap, ConnectError, Result};
use pipette_store::HEADER;

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What stands in front of its keys: `transforms.keep.`, or `store.` of a source.
    pub place: String,
    /// The keys that say which store, named as every plugin names them: `store.uri`, `store.options.*`…
    pub store: ConfigMap,
    /// Whether objects are put there; with `store.mode=reference` they are somebody else's.
    pub stores: bool,
    /// `key.prefix`.
    pub key_prefix: String,
    /// `key.template`, when `key.strategy=template`.
    pub key_template: Option<String>,
    /// `header.name`; empty when there is none.
    pub header: String,
    /// Whether references can be in bytes that a converter may write in base64, and nowhere else.
    pub may_hide: bool,
    /// How long a record may wait for the store: `retry.timeout.ms`, unless it is for ever.
    pub retry_timeout: Duration,
    /// `object.retention.ms`: how long the store keeps objects, as far as somebody says it.
    pub object_retention: Option<Duration>,
    /// `preflight`.
    pub preflight: Preflight,
}

/// What is done about objects that do not live as long as their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    /// Nothing.
    Off,
    /// It is told in the log.
    Warn,
    /// The task fails.
    Strict,
}

impl Claim {
    /// Every place, in the order of the records' way. The error names the key.
    pub fn all(config: &ConfigMap) -> Result<Vec<Self>> {
        let text = |key: &str| config.get(key).map_or("", |text| text.trim());
        let mut all = Vec::new();
        if text("output.mode") == "claim-check" {
            all.push(Self::read("store.", config, config)?);
        }
        for Step { alias, name, .. } in steps(config) {
            if name == "ClaimCheck" {
                let place = format!("transforms.{alias}.");
                let own: ConfigMap = below(config, &place).collect();
                all.push(Self::read(&place, &own, &own)?);
            }
        }
        Ok(all)
    }

    fn read(place: &str, own: &ConfigMap, stores: &ConfigMap) -> Result<Self> {
        // A source has everything behind `store.`, a step of a chain only what every store has.
        let inner = if place == "store." { place } else { "" };
        let text = |key: &str| own.get(&format!("{inner}{key}")).map(|text| text.trim());
        let wrong = |key: &str, what: &str| ConnectError::config(format!("{place}{key} {what}"));
        let header = text("header.name").unwrap_or(HEADER).to_owned();
        let millis = |key: &str| match text(key).map(str::parse::<i128>) {
            None => Ok(None),
            Some(Ok(millis)) => Ok(u64::try_from(millis).ok().map(Duration::from_millis)),
            Some(Err(_)) => Err(wrong(key, "is no number of milliseconds")),
        };
        let preflight = match text("preflight") {
            None | Some("warn") => Preflight::Warn,
            Some("off") => Preflight::Off,
            Some("strict") => Preflight::Strict,
            Some(_) => return Err(wrong("preflight", "is none of off, warn, strict")),
        };
        let is_store = |key: &&String| key.starts_with("store.");
        Ok(Self {
            place: place.to_owned(),
            store: stores.iter().filter(|(key, _)| is_store(key)).map(|(k, v)| (k.clone(), v.clone())).collect(),
            stores: text("store.mode") != Some("reference"),
            key_prefix: text("key.prefix").unwrap_or("${topic}").to_owned(),
            key_template: text("key.template").filter(|_| text("key.strategy") == Some("template")).map(str::to_owned),
            may_hide: header.is_empty() && text("reference.format") == Some("bakdata-header"),
            header,
            retry_timeout: millis("retry.timeout.ms")?.unwrap_or_default(),
            object_retention: millis("object.retention.ms")?,
            preflight,
        })
    }
}

/// A step of a chain, as its text says.
pub struct Step<'a> {
    /// Its alias.
    pub alias: &'a str,
    /// Its class, without a package.
    pub class: &'a str,
    /// The same without the side, such as `$Value`.
    pub name: &'a str,
}

/// The steps of a connector's chain.
pub fn steps(config: &ConfigMap) -> impl Iterator<Item = Step<'_>> {
    let text = |key: &str| config.get(key).map_or("", |text| text.trim());
    let aliases = text("transforms").split(',').map(str::trim).filter(|alias| !alias.is_empty());
    aliases.map(move |alias| {
        let class = text(&format!("transforms.{alias}.type")).rsplit('.').next().unwrap_or_default();
        Step { alias, class, name: class.split('$').next().unwrap_or_default() }
    })
}

fn below<'a>(config: &'a ConfigMap, prefix: &str) -> impl Iterator<Item = (String, String)> + 'a {
    let prefix = prefix.to_owned();
    config.iter().filter_map(move |(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pairs: &[(&str, &str)]) -> Result<Vec<Claim>> {
        Claim::all(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn steps_and_sources_are_found_and_others_are_not() {
        let found = all(&[
            ("output.mode", "claim-check"),
            ("store.uri", "s3://lake"),
            ("store.key.prefix", "raw"),
            ("store.object.retention.ms", "1000"),
            ("transforms", "keep, other,restore"),
            ("transforms.keep.type", "io.pipette.transforms.ClaimCheck$Value"),
            ("transforms.keep.store.uri", "gs://pond"),
            ("transforms.keep.header.name", "claims"),
            ("transforms.keep.preflight", "strict"),
            ("transforms.keep.store.mode", "reference"),
            ("transforms.other.type", "RegexRouter"),
            ("transforms.restore.type", "ClaimCheckRestore"),
        ]);
        let found = found.unwrap();
        let [source, step] = &found[..] else { panic!("{found:?}") };
        assert_eq!((source.store["store.uri"].as_str(), source.key_prefix.as_str()), ("s3://lake", "raw"));
        assert_eq!((source.header.as_str(), source.object_retention), ("claim-check", Some(Duration::from_secs(1))));
        assert_eq!((step.store["store.uri"].as_str(), step.key_prefix.as_str()), ("gs://pond", "${topic}"));
        assert_eq!((step.header.as_str(), step.preflight, step.object_retention), ("claims", Preflight::Strict, None));
        assert_eq!((source.stores, step.stores), (true, false));
        assert_eq!(all(&[("output.mode", "records"), ("store.uri", "s3://lake")]).unwrap(), []);
    }

    #[test]
    fn a_wrong_lifetime_is_named_with_its_place() {
        let step = [("transforms", "a"), ("transforms.a.type", "ClaimCheck")];
        let wrong = |key, value| all(&[&step[..], &[(key, value)]].concat()).unwrap_err().to_string();
        assert!(wrong("transforms.a.object.retention.ms", "7d").contains("transforms.a.object.retention.ms"));
        assert!(wrong("transforms.a.preflight", "hard").contains("transforms.a.preflight"));
    }
}
