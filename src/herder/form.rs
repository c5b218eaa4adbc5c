//! Definitions and answers as forms show them: what `GET …/config` and `PUT …/config/validate` are made of.
//!
//! `validate.rs` fills them in, `rest/model.rs` writes them as JSON.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use pipette_api::config::{Importance, KeyType, Row, Width};
use pipette_api::{ConfigDef, ConfigMap, Place, Plugin, Reach};

use crate::plugins::{ConnectorPlugin, Family};
use crate::settings::clients::{self, ClientKey};
use crate::settings::connector;
use crate::settings::reach::place_of_client;
use crate::settings::secrets::Secrets;

/// A key as a form shows it.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The whole key.
    pub name: String,
    /// Its type.
    pub kind: KeyType,
    /// True when it must be given.
    pub required: bool,
    /// The default in effect.
    pub default: Option<String>,
    /// How much a user should care.
    pub importance: Importance,
    /// For people.
    pub doc: Cow<'static, str>,
    /// The heading.
    pub group: Option<String>,
    /// The place under the heading; -1 without heading.
    pub order: i32,
    /// How wide its field is.
    pub width: Width,
    /// Its name in forms.
    pub display: String,
    /// What its value leads to.
    pub place: Option<Place>,
    /// The keys that make sense only with this one.
    pub dependents: &'static [&'static str],
}

/// A key with its value and what is wrong with it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The whole key.
    pub name: String,
    /// `None` for a key nobody defined.
    pub definition: Option<Definition>,
    /// The value in effect.
    pub value: Option<String>,
    /// Values to offer.
    pub recommended: Vec<String>,
    /// Complete sentences.
    pub errors: Vec<String>,
    /// False when other values make the key pointless.
    pub visible: bool,
}

impl Definition {
    /// The definition of a row.
    pub fn of(row: &Row) -> Self {
        Self {
            name: row.name.clone(),
            kind: row.info.kind,
            required: row.required,
            default: row.default.clone(),
            importance: row.info.importance,
            doc: row.info.doc.into(),
            group: row.group.clone(),
            order: row.order,
            width: row.info.width,
            display: row.info.display.unwrap_or(row.info.name).to_owned(),
            place: row.info.place,
            dependents: row.info.dependents,
        }
    }
}

impl Entry {
    /// A row checked against a configuration.
    pub fn checked(row: &Row, config: &ConfigMap) -> Self {
        let checked = row.check(config);
        Self {
            name: row.name.clone(),
            definition: Some(Definition::of(row)),
            value: checked.value,
            recommended: checked.recommended,
            errors: checked.errors,
            visible: checked.visible,
        }
    }

    /// A client's key in a connector's configuration. What does not parse is an error, what the client refuses is not: the
    /// task's start shows it, as with Apache's worker.
    pub fn of_client(name: &str, key: Option<&ClientKey>, value: &str) -> Self {
        let is_secret = key.is_some_and(|key| key.kind == KeyType::Password);
        let mut entry = Self::undefined(name, Some(if is_secret { "[hidden]" } else { value }.to_owned()));
        let Some(key) = key else { return entry };
        entry.definition = Some(Definition {
            name: name.to_owned(),
            kind: key.kind,
            required: key.required,
            default: key.default.map(str::to_owned),
            importance: key.importance,
            doc: match clients::without_effect(key.name) {
                Some(why) => format!("No effect here: {why}.").into(),
                None => "A setting of Kafka's client.".into(),
            },
            group: None,
            order: -1,
            width: Width::None,
            display: key.name.to_owned(),
            place: place_of_client(name),
            dependents: &[],
        });
        let error = |why| format!("Invalid value {value} for configuration {name}: {why}");
        entry.errors.extend(key.misfit(value).map(error));
        entry
    }

    /// Refuses a value that leads where connectors may not go.
    pub fn keep_within(&mut self, reach: &Reach) {
        let Some((place, value)) = self.definition.as_ref().and_then(|it| it.place).zip(self.value.as_deref()) else {
            return;
        };
        let refused = reach.refusal(place, value);
        self.errors.extend(refused.map(|why| format!("Invalid value {value} for configuration {}: {why}", self.name)));
    }

    /// A key nobody defined.
    pub fn undefined(name: &str, value: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            definition: None,
            value,
            recommended: Vec::new(),
            errors: Vec::new(),
            visible: true,
        }
    }
}

/// Entries in order, found by name: a long chain has thousands.
#[derive(Default)]
pub(super) struct Entries {
    list: Vec<Entry>,
    places: HashMap<String, usize>,
}

impl Entries {
    /// One more; of equal names the first is found.
    pub(super) fn add(&mut self, entry: Entry) {
        self.places.entry(entry.name.clone()).or_insert(self.list.len());
        self.list.push(entry);
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut Entry> {
        self.places.get(name).and_then(|place| self.list.get_mut(*place))
    }

    pub(super) fn into_list(self) -> Vec<Entry> {
        self.list
    }
}

/// The keys of every connector of a kind, numbered as Apache's worker numbers them.
pub fn framework_rows(plugin: ConnectorPlugin) -> Vec<Row> {
    // `transforms` and `predicates` are counted among the common keys, the errors anew.
    let common = connector::COMMON.keys().iter().zip((1..=14).chain(1..));
    let (keys, orders) = match plugin {
        ConnectorPlugin::Source(_) => (&connector::SOURCE, [1, 2, 3, 4, 1]),
        ConnectorPlugin::Sink(_) => (&connector::SINK, [4, 4, 6, 7, 8]),
    };
    let rows = common.chain(keys.keys().iter().zip(orders));
    rows.map(|(key, order)| Row { order, ..Row::new(**key) }).collect()
}

/// A plugin's own keys, counted from `first` under each heading.
pub fn own_rows(def: &ConfigDef, first: i32) -> Vec<Row> {
    let mut counts = std::collections::BTreeMap::new();
    let row = |key: &&'static pipette_api::config::KeyInfo| {
        let row = Row::new(**key);
        let order = match &row.group {
            None => -1,
            Some(group) => {
                let count = counts.entry(group.clone()).or_insert(first - 1);
                *count += 1;
                *count
            }
        };
        Row { order, ..row }
    };
    def.keys().iter().map(row).collect()
}

/// The rows of a plugin as `GET /connector-plugins/{plugin}/config` lists them: its own, then the framework's that it
/// does not define anew.
pub fn definitions(plugin: &'static Plugin) -> Vec<Definition> {
    let connector = match plugin {
        Plugin::Source(source) => Some(ConnectorPlugin::Source(source)),
        Plugin::Sink(sink) => Some(ConnectorPlugin::Sink(sink)),
        _ => None,
    };
    let first = i32::from(!matches!(Family::of(plugin), Family::Converter | Family::HeaderConverter));
    let mut rows = own_rows(plugin.info().config, first);
    for mut row in connector.map(framework_rows).unwrap_or_default() {
        if rows.iter().any(|own| own.name == row.name) {
            continue;
        }
        if row.name == connector::VERSION.info.name {
            row.default = Some(plugin.info().version.to_owned());
        }
        rows.push(row);
    }
    rows.iter().map(Definition::of).collect()
}

/// What validation says.
#[derive(Debug, Clone)]
pub struct Validation {
    /// `connector.class` as given.
    pub class: String,
    /// How many errors there are, counted as Java counts.
    pub error_count: usize,
    /// The keys in order.
    pub entries: Vec<Entry>,
    /// What is not to be shown.
    pub(super) secrets: Secrets,
}

impl Validation {
    /// The headings in the order they first appear.
    pub fn groups(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let all = self.entries.iter().filter_map(|entry| entry.definition.as_ref()?.group.as_deref());
        all.filter(|group| seen.insert(*group)).map(str::to_owned).collect()
    }

    /// Every error text, in order.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flat_map(|entry| entry.errors.iter().map(String::as_str))
    }
}

/// Shows the placeholders again instead of what they stand for. A name may be made of one, and so may errors of other keys.
pub(super) fn hide(entries: &mut [Entry], written: &ConfigMap, resolved: &ConfigMap, secrets: &Secrets) {
    for entry in entries {
        secrets.hide_in(&mut entry.name);
        entry.errors.iter_mut().for_each(|error| secrets.hide_in(error));
        if let Some(definition) = &mut entry.definition {
            secrets.hide_in(&mut definition.name);
            secrets.hide_in(&mut definition.display);
            definition.group.iter_mut().for_each(|group| secrets.hide_in(group));
        }
        let (Some(written), Some(resolved)) = (written.get(&entry.name), resolved.get(&entry.name)) else { continue };
        if written != resolved {
            entry.value = entry.value.as_ref().map(|value| if value == "[hidden]" { value } else { written }.clone());
            entry.errors.iter_mut().for_each(|error| *error = error.replace(resolved.as_str(), written));
        }
    }
}
