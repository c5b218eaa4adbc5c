//! THE list of plugins: one line per plugin crate, behind its feature, and the built-in converters.
//!
//! The herder and REST look plugins up here, by the names Apache's worker accepts: the class, its simple name, and that
//! name without its suffix, as long as it means one class only.

use pipette_api::{
    ConverterPlugin, HeaderConverterPlugin, Plugin, PredicatePlugin, Question, SinkPlugin, SourcePlugin,
    TransformPlugin,
};

use crate::settings::nearest::nearest;

/// Every plugin this binary was built with.
fn built_in() -> Vec<&'static [Plugin]> {
    vec![
        crate::convert::PLUGINS,
        #[cfg(feature = "connector-file")]
        connector_file::PLUGINS,
        #[cfg(feature = "connector-lab-files")]
        connector_lab_files::PLUGINS,
        #[cfg(feature = "connector-mqtt")]
        connector_mqtt::PLUGINS,
        #[cfg(feature = "transform-claim-check")]
        transform_claim_check::PLUGINS,
        #[cfg(feature = "transform-standard")]
        transform_standard::PLUGINS,
    ]
}

/// What can be looked for. Sources and sinks share their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Sources and sinks.
    Connector,
    /// Converters of keys and values.
    Converter,
    /// Converters of headers.
    HeaderConverter,
    /// Transformations.
    Transform,
    /// Predicates.
    Predicate,
}

impl Family {
    /// The family of a plugin.
    pub fn of(plugin: &Plugin) -> Self {
        match plugin {
            Plugin::Source(_) | Plugin::Sink(_) => Self::Connector,
            Plugin::Converter(_) => Self::Converter,
            Plugin::HeaderConverter(_) => Self::HeaderConverter,
            Plugin::Transform(_) | Plugin::AsyncTransform(_) | Plugin::Expand(_) | Plugin::Collect(_) => {
                Self::Transform
            }
            Plugin::Predicate(_) => Self::Predicate,
        }
    }

    /// The name of Java's interface, which error texts name.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Connector => "Connector",
            Self::Converter => "Converter",
            Self::HeaderConverter => "HeaderConverter",
            Self::Transform => "Transformation",
            Self::Predicate => "Predicate",
        }
    }
}

/// A source or a sink.
#[derive(Debug, Clone, Copy)]
pub enum ConnectorPlugin {
    /// Into Kafka.
    Source(&'static SourcePlugin),
    /// Out of Kafka.
    Sink(&'static SinkPlugin),
}

impl ConnectorPlugin {
    /// What all plugins have.
    pub fn info(self) -> &'static pipette_api::Info {
        match self {
            Self::Source(plugin) => &plugin.info,
            Self::Sink(plugin) => &plugin.info,
        }
    }

    /// The questions it answers.
    pub fn questions(self) -> &'static [Question] {
        match self {
            Self::Source(plugin) => plugin.questions,
            Self::Sink(plugin) => plugin.questions,
        }
    }

    /// The type in REST answers.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Sink(_) => "sink",
        }
    }

    /// What Apache's worker calls the class of its tasks: its connectors call it so.
    pub fn task_class(self) -> String {
        let class = self.info().class;
        format!("{}Task", class.strip_suffix("Connector").unwrap_or(class))
    }
}

/// The plugins of a worker, in the order of `GET /connector-plugins`.
#[derive(Debug, Clone)]
pub struct Plugins {
    list: Vec<&'static Plugin>,
}

impl Plugins {
    /// Those this binary was built with.
    pub fn built_in() -> Self {
        Self::of(&built_in())
    }

    /// Those of some crates.
    pub fn of(crates: &[&'static [Plugin]]) -> Self {
        Self::sorted(crates.iter().copied().flatten().collect())
    }

    fn sorted(mut list: Vec<&'static Plugin>) -> Self {
        list.sort_by_key(|plugin| (place(plugin), plugin.info().class));
        Self { list }
    }

    /// These and those of one more crate.
    #[must_use]
    pub fn and(self, more: &'static [Plugin]) -> Self {
        let mut list = self.list;
        list.extend(more);
        Self::sorted(list)
    }

    /// All of them: sinks, sources, transformations, predicates, converters, header converters, each by class.
    pub fn all(&self) -> &[&'static Plugin] {
        &self.list
    }

    /// Those of a family.
    pub fn family(&self, family: Family) -> impl Iterator<Item = &'static Plugin> {
        self.list.iter().copied().filter(move |plugin| Family::of(plugin) == family)
    }

    /// The classes of a family, in order.
    pub fn classes(&self, family: Family) -> Vec<&'static str> {
        self.family(family).map(|plugin| plugin.info().class).collect()
    }

    /// The plugin of a family that answers to a name.
    pub fn find(&self, family: Family, name: &str) -> Option<&'static Plugin> {
        let name = name.trim();
        if let Some(plugin) = self.family(family).find(|plugin| plugin.info().answers_to(name)) {
            return Some(plugin);
        }
        let mut found = self.family(family).filter(|plugin| short_names(plugin).contains(&name));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The plugin of any family that answers to a name; connectors first.
    pub fn find_any(&self, name: &str) -> Option<&'static Plugin> {
        [Family::Connector, Family::Transform, Family::Predicate, Family::Converter, Family::HeaderConverter]
            .into_iter()
            .find_map(|family| self.find(family, name))
    }

    /// A source or a sink, or the error to show, which names the nearest known one.
    pub fn connector(&self, name: &str) -> Result<ConnectorPlugin, String> {
        match self.find(Family::Connector, name) {
            Some(Plugin::Source(plugin)) => Ok(ConnectorPlugin::Source(plugin)),
            Some(Plugin::Sink(plugin)) => Ok(ConnectorPlugin::Sink(plugin)),
            _ => Err(format!(
                "Failed to find any class that implements Connector and which name matches {name}, available \
                 connectors are: {}.{}",
                self.classes(Family::Connector).join(", "),
                self.did_you_mean(Family::Connector, name)
            )),
        }
    }

    /// A converter of keys or values.
    pub fn converter(&self, name: &str) -> Option<&'static ConverterPlugin> {
        match self.find(Family::Converter, name) {
            Some(Plugin::Converter(plugin)) => Some(plugin),
            _ => None,
        }
    }

    /// A header converter.
    pub fn header_converter(&self, name: &str) -> Option<&'static HeaderConverterPlugin> {
        match self.find(Family::HeaderConverter, name) {
            Some(Plugin::HeaderConverter(plugin)) => Some(plugin),
            _ => None,
        }
    }

    /// A transformation that computes.
    pub fn transform(&self, name: &str) -> Option<&'static TransformPlugin> {
        match self.find(Family::Transform, name) {
            Some(Plugin::Transform(plugin)) => Some(plugin),
            _ => None,
        }
    }

    /// A predicate.
    pub fn predicate(&self, name: &str) -> Option<&'static PredicatePlugin> {
        match self.find(Family::Predicate, name) {
            Some(Plugin::Predicate(plugin)) => Some(plugin),
            _ => None,
        }
    }

    /// Why a configuration key may not name a class: nobody has it, or it belongs to another family.
    pub fn refusal(&self, family: Family, key: &str, class: &str) -> Option<String> {
        if self.find(family, class).is_some() {
            return None;
        }
        Some(match self.find_any(class) {
            Some(other) => format!(
                "Invalid value {class} for configuration {key}: Class class {} does not implement the {} interface",
                other.info().class,
                family.interface()
            ),
            None => format!(
                "Invalid value {class} for configuration {key}: Class {class} could not be found.{}",
                self.did_you_mean(family, class)
            ),
        })
    }

    /// ` Did you mean X?` with the nearest name of the family, or nothing when none is near.
    pub fn did_you_mean(&self, family: Family, name: &str) -> String {
        let names = self.family(family).flat_map(|plugin| {
            let info = plugin.info();
            short_names(plugin).into_iter().chain([info.class]).chain(info.aliases.iter().copied())
        });
        nearest(name, names).map_or_else(String::new, |known| format!(" Did you mean {known}?"))
    }
}

fn place(plugin: &Plugin) -> u8 {
    match plugin {
        Plugin::Sink(_) => 0,
        Plugin::Source(_) => 1,
        Plugin::Transform(_) | Plugin::AsyncTransform(_) | Plugin::Expand(_) | Plugin::Collect(_) => 2,
        Plugin::Predicate(_) => 3,
        Plugin::Converter(_) => 4,
        Plugin::HeaderConverter(_) => 5,
    }
}

/// The simple name and the simple name without its suffix.
fn short_names(plugin: &'static Plugin) -> Vec<&'static str> {
    let simple = plugin.info().class.rsplit(['.', '$']).next().unwrap_or_default();
    let pruned = simple.strip_suffix(Family::of(plugin).interface()).filter(|rest| !rest.is_empty());
    [Some(simple), pruned].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use pipette_api::{ConfigDef, ConnectError, Info};

    use super::*;

    static NONE: ConfigDef = ConfigDef::new(&[]);

    const fn info(class: &'static str, aliases: &'static [&'static str]) -> Info {
        Info { class, aliases, version: "1", about: "", readme: "", config: &NONE }
    }

    const fn transform(class: &'static str) -> Plugin {
        Plugin::Transform(TransformPlugin { info: info(class, &[]), make: |_| Err(ConnectError::fatal("no")) })
    }

    static PLUGINS: &[Plugin] = &[
        Plugin::Source(SourcePlugin::new(
            info("org.x.FileStreamSourceConnector", &["Lines"]),
            |_| Err(ConnectError::fatal("no")),
            |_| Err(ConnectError::fatal("no")),
        )),
        transform("org.x.Cast$Key"),
        transform("org.x.Cast$Value"),
        transform("org.x.Mask$Value"),
        transform("org.x.Filter"),
    ];

    #[test]
    fn a_class_answers_to_the_names_java_accepts() {
        let plugins = Plugins::of(&[PLUGINS]);
        for name in
            ["org.x.FileStreamSourceConnector", "FileStreamSourceConnector", "FileStreamSource", "Lines", " Lines "]
        {
            assert!(plugins.connector(name).is_ok(), "{name}");
        }
        assert!(plugins.transform("org.x.Cast$Value").is_some());
        assert!(plugins.transform("Filter").is_some());
        assert!(plugins.transform("Value").is_none(), "two classes end so");
        assert!(plugins.transform("FileStreamSource").is_none(), "another family");
    }

    #[test]
    fn an_unknown_class_names_the_nearest() {
        let plugins = Plugins::of(&[PLUGINS]);
        let error = plugins.connector("FileStreamSorce").unwrap_err();
        assert!(error.starts_with("Failed to find any class that implements Connector and which name matches File"));
        assert!(error.ends_with("org.x.FileStreamSourceConnector. Did you mean FileStreamSource?"), "{error}");
        assert!(!plugins.connector("io.confluent.S3").unwrap_err().contains("Did you mean"));
    }
}
