//! The whole validate answer: the connector's keys, the framework's, those of transformations, predicates, converters
//! and client overrides, with groups and counts as Apache's worker gives them.
//!
//! Runs plugin code (checks and rules), so `handle.rs` calls it on a thread of its own with a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pipette_api::config::{FromText, Importance, Row};
use pipette_api::{ConfigMap, ExactlyOnce, Info, Plugin, Settings};

use super::form::{Entries, Entry, Validation, framework_rows, hide, own_rows};
use super::letter_checks::{self, Named};
use super::version;
use super::{chain_checks, client_keys, size_checks};
use crate::kafka::pattern;
use crate::plugins::{ConnectorPlugin, Family, Plugins};
use crate::settings::secrets::Secrets;
use crate::settings::worker::WorkerConfig;
use crate::settings::{connector, dead_letters, restarts};
use crate::task::topics;

/// A configuration as it came in: JSON null is allowed and reported.
pub type Draft = BTreeMap<String, Option<String>>;

/// Validates a configuration. The error is a failure that leaves nothing to answer: no class, or an unknown one.
pub fn validate(plugins: &Plugins, worker: &WorkerConfig, draft: &Draft) -> Result<Validation, String> {
    let written: ConfigMap = draft.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    let (config, secrets) = worker.providers.resolve_and_tell(&written).map_err(|error| error.chain())?;
    let found = filled_in(plugins, worker, draft, &written, config, &secrets);
    found.map(|validation| Validation { secrets: secrets.clone(), ..validation }).map_err(|mut error| {
        secrets.hide_in(&mut error);
        error
    })
}

fn filled_in(
    plugins: &Plugins,
    worker: &WorkerConfig,
    draft: &Draft,
    written: &ConfigMap,
    config: ConfigMap,
    secrets: &Secrets,
) -> Result<Validation, String> {
    let class = config.get(connector::CLASS.info.name).cloned().unwrap_or_default();
    if class.trim().is_empty() {
        return Err("The connector config contains no connector type: set connector.class".into());
    }
    let plugin = plugins.connector(&class)?;
    let config = Arc::new(config);
    let mut sheet = Sheet { plugins, worker, plugin, config, entries: Entries::default(), clients: Vec::new() };
    let fits = sheet.common()?;
    if fits {
        sheet.chain();
        sheet.own();
        sheet.cross_checks();
        sheet.nulls(draft);
        sheet.overrides();
        sheet.converters();
        sheet.sizes();
        sheet.topic_groups();
    }
    let (mut entries, mut clients) = (sheet.entries.into_list(), sheet.clients);
    if fits {
        entries.iter_mut().chain(&mut clients).for_each(|entry| entry.keep_within(&worker.reach));
    }
    let strict: usize = entries.iter().map(|entry| entry.errors.len()).sum();
    let lenient = clients.iter().filter(|entry| !entry.errors.is_empty()).count();
    // Keys without definition come first.
    entries.sort_by_key(|entry| entry.definition.is_some());
    entries.append(&mut clients);
    hide(&mut entries, written, &sheet.config, secrets);
    Ok(Validation { class, error_count: strict + lenient, entries, secrets: Secrets::default() })
}

/// The answer while it is written.
struct Sheet<'a> {
    plugins: &'a Plugins,
    worker: &'a WorkerConfig,
    plugin: ConnectorPlugin,
    config: Arc<ConfigMap>,
    entries: Entries,
    /// Converters' and clients' keys, which Java counts differently.
    clients: Vec<Entry>,
}

impl Sheet<'_> {
    fn entry(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.find(name)
    }

    fn blame(&mut self, name: &str, error: String) {
        if let Some(entry) = self.entry(name) {
            entry.errors.push(error);
            return;
        }
        let mut entry = Entry::undefined(name, self.config.get(name).cloned());
        entry.errors.push(error);
        self.entries.add(entry);
    }

    fn is_fine(&mut self, name: &str) -> bool {
        self.entry(name).is_none_or(|entry| entry.errors.is_empty())
    }

    /// The keys of every connector. False when the plugin's version does not fit: then nothing else is looked at.
    fn common(&mut self) -> Result<bool, String> {
        let info = self.plugin.info();
        let wanted = self.config.get(connector::VERSION.info.name).cloned();
        let misfit = match &wanted {
            Some(wanted) => version::misfit(info, wanted)?,
            None => None,
        };
        let mut rows = framework_rows(self.plugin);
        if misfit.is_some() {
            rows.truncate(connector::COMMON.keys().len());
        }
        rows.extend(self.added_rows().into_iter().filter(|_| misfit.is_none()));
        for mut row in rows {
            if row.name == connector::VERSION.info.name {
                row.default = Some(info.version.to_owned());
            }
            self.entries.add(Entry::checked(&row, &self.config));
        }
        self.offer(connector::VERSION.info.name, vec![info.version.to_owned()]);
        for (key, own) in [
            (connector::KEY_CONVERTER.info.name, &self.worker.key_converter),
            (connector::VALUE_CONVERTER.info.name, &self.worker.value_converter),
            (connector::HEADER_CONVERTER.info.name, &self.worker.header_converter),
        ] {
            self.converter_choice(key, own, misfit.is_none());
        }
        self.duplicate_aliases(connector::TRANSFORMS.info.name);
        self.duplicate_aliases(connector::PREDICATES.info.name);
        if matches!(self.plugin, ConnectorPlugin::Source(_)) {
            self.duplicate_aliases(connector::TOPIC_GROUPS.info.name);
        }
        let fits = misfit.is_none();
        if let Some(error) = misfit {
            self.blame(connector::CLASS.info.name, error.clone());
            self.blame(connector::VERSION.info.name, error);
        }
        Ok(fits)
    }

    /// Keys that are our addition: Java's worker lists none of them, so they show only where they are used.
    fn added_rows(&self) -> Vec<Row> {
        if self.worker.strict {
            return Vec::new();
        }
        let letters = [&dead_letters::NAME.info, &dead_letters::COPIES.info, &dead_letters::CONTEXT.info];
        let of_family = match self.plugin {
            ConnectorPlugin::Source(_) => (letters.as_slice(), 6),
            ConnectorPlugin::Sink(_) => (dead_letters::SINK_ADDED.keys(), 9),
        };
        let groups = [of_family, (restarts::KEYS.keys(), 9), (connector::ADDED.keys(), 13)].into_iter();
        let used = groups.filter(|(keys, _)| keys.iter().any(|key| self.config.contains_key(key.name)));
        let rows = used.flat_map(|(keys, first)| keys.iter().zip(first..));
        rows.map(|(key, order)| Row { order, ..Row::new(**key) }).collect()
    }

    fn offer(&mut self, name: &str, values: Vec<String>) {
        if let Some(entry) = self.entry(name) {
            entry.recommended = values;
        }
    }

    /// Defaults, offers and errors of a converter key and of its version.
    fn converter_choice(&mut self, key: &str, own: &str, usable: bool) {
        let family = family_of(key);
        let version_key = format!("{key}.plugin.version");
        let given = self.config.get(key).cloned();
        let error = given.as_deref().and_then(|class| self.plugins.refusal(family, key, class));
        let found = self.plugins.find(family, given.as_deref().unwrap_or(own)).filter(|_| usable);
        let class = found.map(|plugin| plugin.info().class.to_owned());
        let version = found.map(|plugin| plugin.info().version.to_owned());
        let default = self.plugins.find(family, own).map_or(own, |plugin| plugin.info().class).to_owned();
        let classes = self.plugins.classes(family).into_iter().map(str::to_owned).collect();
        if let Some(entry) = self.entry(key) {
            if usable {
                entry.value = if given.is_some() { class } else { Some(default.clone()) };
                entry.recommended = classes;
            }
            if let Some(definition) = &mut entry.definition {
                definition.default = Some(default).filter(|_| usable);
            }
            entry.errors.extend(error);
        }
        let wanted = self.config.get(&version_key).cloned();
        if let Some(entry) = self.entry(&version_key) {
            entry.visible = version.is_some();
            entry.recommended = version.iter().cloned().collect();
            entry.value = wanted.clone().or_else(|| version.clone());
            if let Some(definition) = &mut entry.definition {
                definition.default = version;
            }
        }
        if let (Some(wanted), Some(plugin)) = (wanted, found.filter(|_| given.is_some())) {
            self.blame_version(plugin.info(), &wanted, Some(key), &version_key);
        }
    }

    /// True when the version fits.
    fn blame_version(&mut self, info: &Info, wanted: &str, key: Option<&str>, version_key: &str) -> bool {
        match version::misfit(info, wanted) {
            Ok(None) => return true,
            Ok(Some(error)) => {
                if let Some(key) = key {
                    self.blame(key, error.clone());
                }
                self.blame(version_key, error);
            }
            Err(error) => self.blame(version_key, error),
        }
        false
    }

    fn list(&self, key: &str) -> Vec<String> {
        let text = self.config.get(key).map(|text| text.trim()).unwrap_or_default();
        Vec::<String>::from_text(text).unwrap_or_default()
    }

    fn duplicate_aliases(&mut self, key: &str) {
        let list = self.list(key);
        if list.iter().collect::<BTreeSet<_>>().len() < list.len() {
            let shown = list.join(", ");
            self.blame(key, format!("Invalid value [{shown}] for configuration {key}: Duplicate alias provided."));
        }
    }

    /// Transformations, then predicates.
    fn chain(&mut self) {
        for (key, family, noun) in [
            (connector::TRANSFORMS.info.name, Family::Transform, "Transformation"),
            (connector::PREDICATES.info.name, Family::Predicate, "Predicate"),
        ] {
            match chain_checks::aliases(key, self.list(key)) {
                Ok(aliases) => aliases.iter().for_each(|alias| self.link(key, alias, family, noun)),
                Err(error) => self.blame(key, error),
            }
        }
        for (key, error) in chain_checks::errors(self.plugins, self.plugin, &self.config, &self.worker.value_converter)
        {
            self.blame(&key, error);
        }
    }

    /// The keys of one transformation or predicate.
    fn link(&mut self, list: &str, alias: &str, family: Family, noun: &str) {
        let prefix = format!("{list}.{alias}.");
        let group = format!("{noun}s: {alias}").replace("Transformations", "Transforms");
        let type_key = format!("{prefix}type");
        let version_key = format!("{prefix}plugin.version");
        let given = self.config.get(&type_key).cloned();
        let found = given.as_deref().and_then(|class| self.plugins.find(family, class));
        let version = found.map(|plugin| plugin.info().version.to_owned());
        let mut named = |info, name: &str, order, display: String, default: Option<String>| {
            let row = Row { name: name.to_owned(), group: Some(group.clone()), order, ..Row::new(info) };
            let mut entry = Entry::checked(&Row { default, ..row }, &self.config);
            if let Some(definition) = &mut entry.definition {
                definition.display = display;
            }
            self.entries.add(entry);
        };
        named(connector::TYPE.info, &type_key, 0, format!("{noun} type for {alias}"), None);
        let display = format!("{noun} version for {alias}");
        named(connector::LINK_VERSION.info, &version_key, 1, display, version.clone());
        self.offer(&type_key, self.plugins.classes(family).into_iter().map(str::to_owned).collect());
        self.offer(&version_key, version.into_iter().collect());
        if let Some(class) = &given {
            let error = self.plugins.refusal(family, &type_key, class);
            let shown = found.map(|plugin| plugin.info().class.to_owned());
            if let Some(entry) = self.entry(&type_key) {
                entry.value = shown;
                entry.errors.extend(error);
            }
        }
        let Some(plugin) = found else { return };
        let has = |key: &str| self.config.contains_key(&format!("{prefix}{key}"));
        let negates_nothing = family == Family::Transform && has("negate") && !has("predicate");
        if negates_nothing {
            self.blame(
                &type_key,
                format!(
                    "Config '{prefix}negate' was provided but there is no config '{prefix}predicate' defining a \
                     predicate to be negated."
                ),
            );
        }
        let wanted = self.config.get(&version_key).cloned();
        let blamed = Some(type_key.as_str()).filter(|_| !negates_nothing);
        if wanted.is_some_and(|wanted| !self.blame_version(plugin.info(), &wanted, blamed, &version_key)) {
            return;
        }
        self.link_keys(&prefix, &group, plugin);
        self.rules(&prefix, plugin.info());
    }

    /// A plugin's own keys and the implicit ones, in Java's order, counted on from 2.
    fn link_keys(&mut self, prefix: &str, group: &str, plugin: &'static Plugin) {
        let mut rows = own_rows(plugin.info().config, 1);
        if Family::of(plugin) == Family::Transform {
            rows.retain(|row| row.name != "predicate" && row.name != "negate");
            rows.push(Row::new(connector::PREDICATE.info));
            rows.push(Row::new(connector::NEGATE.info));
        }
        let rank = |importance: Importance| importance as u8;
        rows.sort_by_key(|row| {
            (row.group.clone(), row.order, !row.required, rank(row.info.importance), row.name.clone())
        });
        for (row, order) in rows.into_iter().zip(2..) {
            let group = row.group.as_ref().map_or(group.to_owned(), |own| format!("{group}: {own}"));
            let row = Row { name: format!("{prefix}{}", row.name), group: Some(group), order, ..row };
            self.entries.add(Entry::checked(&row, &self.config));
        }
    }

    /// The connector's own keys; they take the place of framework keys of the same name.
    fn own(&mut self) {
        let info = self.plugin.info();
        for row in own_rows(info.config, 1) {
            let entry = Entry::checked(&row, &self.config);
            match self.entry(&row.name) {
                Some(place) => *place = entry,
                None => self.entries.add(entry),
            }
        }
        self.rules("", info);
    }

    /// The rule between a plugin's keys, once each key by itself is fine.
    fn rules(&mut self, prefix: &str, info: &Info) {
        if !info.config.keys().iter().all(|key| self.is_fine(&format!("{prefix}{}", key.name))) {
            return;
        }
        let part = Settings::new(Arc::clone(&self.config), info.config).below(prefix);
        for (key, error) in info.config.broken_rules(&part) {
            self.blame(&format!("{prefix}{key}"), error.replace(key, &format!("{prefix}{key}")));
        }
    }

    fn cross_checks(&mut self) {
        match self.plugin {
            ConnectorPlugin::Source(source) => {
                self.letter_checks(&[], None);
                let text = |key: &str| self.config.get(key).map(|text| text.trim().to_lowercase());
                let (once, boundary) = (text(connector::EXACTLY_ONCE.info.name), text(connector::BOUNDARY.info.name));
                let settings = Settings::new(Arc::clone(&self.config), source.info.config);
                if once.as_deref() == Some("required") {
                    self.exactly_once((source.exactly_once)(&settings));
                }
                if boundary.as_deref() == Some("connector") && !(source.own_boundaries)(&settings) {
                    let error = "The connector does not support connector-defined transaction boundaries with the given \
                                 configuration. Please reconfigure it to use a different transaction boundary definition.";
                    self.blame(connector::BOUNDARY.info.name, error.into());
                }
            }
            ConnectorPlugin::Sink(_) => self.subscription(),
        }
    }

    /// It is required: the worker has to be able to, and the connector with this configuration.
    fn exactly_once(&mut self, support: ExactlyOnce) {
        let key = connector::EXACTLY_ONCE.info.name;
        if self.worker.transactional_group().is_none() {
            self.blame(key, "This worker does not have exactly-once source support enabled.".into());
        }
        if let ExactlyOnce::Unsupported(reason) = support {
            let error = "The connector does not support exactly-once semantics with the provided configuration.";
            self.blame(key, format!("{error} Why: {reason}"));
        }
    }

    /// The keys that say how large records may be, as far as each of them is fine.
    fn sizes(&mut self) {
        let key = connector::INLINE.info.name;
        if !self.is_fine(key) {
            return;
        }
        let own = self.config.get(key).filter(|_| !self.worker.strict).and_then(|text| text.trim().parse().ok());
        let inline = own.unwrap_or(self.worker.inline);
        // A client's key that cannot be read is told where it stands.
        let errors = size_checks::errors(self.plugin, self.worker, &self.config, inline).unwrap_or_default();
        for error in errors {
            self.blame(key, error);
        }
        if matches!(self.plugin, ConnectorPlugin::Source(_)) {
            let errors = size_checks::pieces(self.plugins, self.worker, &self.config).unwrap_or_default();
            for (key, error) in errors {
                self.blame(&key, error);
            }
        }
    }

    /// Groups of topics that lack a key or have a wrong one, which Apache's worker finds when the task starts.
    fn topic_groups(&mut self) {
        let key = connector::TOPIC_GROUPS.info.name;
        if matches!(self.plugin, ConnectorPlugin::Source(_)) && self.worker.topic_creation && self.is_fine(key) {
            let found = topics::Rules::read(&self.config);
            found.map_or_else(|error| self.blame(key, error.to_string()), drop);
        }
    }

    fn letter_checks(&mut self, topics: &[String], regex: Option<&str>) {
        let dead = self.config.get(dead_letters::NAME.info.name).map(|name| name.trim());
        let Some(dead) = dead.filter(|dead| !dead.is_empty()) else { return };
        // Apache's worker reads no such key of a source, and lets a sink's letters go where offsets are.
        let strict = self.worker.strict;
        if strict && matches!(self.plugin, ConnectorPlugin::Source(_)) {
            return;
        }
        let workers =
            self.worker.offsets_topic.as_ref().map(|offsets| ("offset.storage.topic", offsets.topic.name.as_str()));
        let own = connector::offsets_topic(&self.config).filter(|_| workers.is_some());
        let own = own.map(|topic| (connector::OFFSETS_TOPIC.info.name, topic));
        let offsets: Vec<_> = workers.into_iter().chain(own).filter(|_| !strict).collect();
        let errors = letter_checks::errors(&Named { dead, topics, regex, offsets: &offsets });
        for (key, error) in errors {
            self.blame(key, error);
        }
    }

    /// Exactly one of `topics` and `topics.regex`, and no dead letters back in.
    fn subscription(&mut self) {
        let (topics, regex) = (connector::TOPICS.info.name, connector::TOPICS_REGEX.info.name);
        let list = self.list(topics);
        let has_regex = self.config.get(regex).is_some_and(|text| !text.trim().is_empty());
        if list.iter().collect::<BTreeSet<_>>().len() < list.len() {
            self.blame(topics, "Configuration 'topics' values must not be duplicated.".into());
        } else if list.iter().any(String::is_empty) {
            self.blame(topics, "Configuration 'topics' values must not be empty.".into());
        }
        let error = match (list.is_empty(), has_regex) {
            (false, true) => "topics and topics.regex are mutually exclusive options, but both are set.",
            (true, false) => "Must configure one of topics or topics.regex",
            _ => "",
        };
        if !error.is_empty() {
            self.blame(topics, error.into());
            self.blame(regex, error.into());
        }
        let pattern =
            self.config.get(regex).filter(|_| has_regex).map(|text| (text.trim(), pattern::whole_name(text.trim())));
        if let Some((text, Err(error))) = pattern {
            let error = format!("Invalid value {text} for configuration {regex}: Invalid regex: {error}");
            self.blame(regex, error);
        }
        let pattern = self.config.get(regex).map(|text| text.trim().to_owned()).filter(|_| has_regex);
        self.letter_checks(&list, pattern.as_deref());
    }

    fn nulls(&mut self, draft: &Draft) {
        for name in draft.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name) {
            let own = self.plugin.info().config.key(name);
            let known = framework_rows(self.plugin).into_iter().find(|row| row.name == *name);
            if own.is_some() {
                continue;
            }
            if let (Some(row), Some(entry)) = (known.filter(|row| !row.required), self.entry(name)) {
                entry.value = None;
                if let Err(reason) = (row.info.check)(None) {
                    entry.errors.push(format!("Invalid value null for configuration {name}: {reason}"));
                }
            }
            self.blame(name, "Null value can not be supplied as the configuration value.".into());
        }
    }

    /// `producer.override.…` and the like, for the clients this connector uses.
    fn overrides(&mut self) {
        self.clients.extend(client_keys::entries(self.plugin, self.worker, &self.config));
    }

    /// The keys of the converters that the connector names itself.
    fn converters(&mut self) {
        for (key, side) in [
            (connector::HEADER_CONVERTER.info.name, "header"),
            (connector::KEY_CONVERTER.info.name, "key"),
            (connector::VALUE_CONVERTER.info.name, "value"),
        ] {
            let version_key = format!("{key}.plugin.version");
            let given = self.config.get(key).cloned();
            let found = given.and_then(|class| self.plugins.find(family_of(key), &class));
            let Some(plugin) = found.filter(|_| self.is_fine(key) && self.is_fine(&version_key)) else { continue };
            let mut config = ConfigMap::clone(&self.config);
            config.insert(format!("{key}.converter.type"), side.into());
            for row in own_rows(plugin.info().config, 0) {
                let row = Row { name: format!("{key}.{}", row.name), ..row };
                self.clients.push(Entry::checked(&row, &config));
            }
        }
    }
}

fn family_of(key: &str) -> Family {
    if key == connector::HEADER_CONVERTER.info.name { Family::HeaderConverter } else { Family::Converter }
}
