//! The planning halves: one task for the source, as many as allowed for the sink, and the rules for altering offsets.

use std::path::PathBuf;

use pipette_api::{
    ConfigMap, ConnectError, Connector, Key, OffsetMap, Partition, Primitive, Result, Settings, async_trait,
};

use crate::source;

/// The configured file; `None` for standard input or output.
pub(crate) fn file(settings: &Settings, key: &Key<String>) -> Result<Option<PathBuf>> {
    Ok(settings.find(key)?.filter(|path| !path.is_empty()).map(PathBuf::from))
}

/// Plans the source.
pub(crate) struct SourceConnector {
    has_file: bool,
}

impl SourceConnector {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { has_file: file(settings, &source::FILE)?.is_some() })
    }
}

#[async_trait]
impl Connector for SourceConnector {
    async fn task_configs(&mut self, _max: usize) -> Result<Vec<ConfigMap>> {
        // One file has one reader, however many tasks are allowed.
        Ok(vec![ConfigMap::new()])
    }

    async fn alter_offsets(&mut self, offsets: &[(Partition, Option<OffsetMap>)]) -> Result<()> {
        if !self.has_file {
            return Err(ConnectError::fatal(
                "Offsets cannot be modified if the 'file' configuration is unspecified. \
                 Standard input is read then, which has no offsets.",
            ));
        }
        // A deleted offset may belong to any partition, also to one of an earlier configuration.
        offsets.iter().filter_map(|(partition, offset)| Some((partition, offset.as_ref()?))).try_for_each(fits)
    }
}

/// Java's checks in Java's order and words, which tools show.
fn fits((partition, offset): (&Partition, &OffsetMap)) -> Result<()> {
    let refuse = |reason: &str| Err(ConnectError::fatal(reason));
    match offset.get(source::POSITION) {
        None => return refuse("Offset objects should either be null or contain the key 'position'"),
        Some(Primitive::Int(position)) if *position < 0 => {
            return refuse("The value for the 'position' key in the offset should be a non-negative value");
        }
        Some(Primitive::Int(_)) => {}
        Some(_) => {
            return refuse("The value for the 'position' key in the offset is expected to be a Long value");
        }
    }
    if partition.0.contains_key(source::FILENAME) {
        return Ok(());
    }
    refuse("Partition objects should contain the key 'filename'")
}

/// Plans the sink.
pub(crate) struct SinkConnector;

#[async_trait]
impl Connector for SinkConnector {
    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        Ok(vec![ConfigMap::new(); max.max(1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alter(file: Option<&str>, partition: &str, offset: Option<(&str, Primitive)>) -> String {
        let config: ConfigMap = file.map(|file| ("file".to_owned(), file.to_owned())).into_iter().collect();
        let mut connector = SourceConnector::new(&Settings::new(config, &crate::SOURCE_CONFIG)).unwrap();
        let offset = offset.map(|(key, value)| OffsetMap::from([(key.into(), value)]));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(connector.alter_offsets(&[(Partition::of(partition, "in.txt"), offset)]));
        outcome.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn altered_offsets_are_checked_as_java_does() {
        let file = Some("in.txt");
        assert_eq!(alter(file, "filename", Some(("position", Primitive::Int(4)))), "");
        assert_eq!(alter(file, "anything", None), "", "any partition may be deleted");
        assert!(alter(None, "filename", None).starts_with("Offsets cannot be modified if the 'file' configuration is"));
        assert!(alter(Some(""), "filename", None).starts_with("Offsets cannot be modified"), "empty is standard input");
        for (partition, key, value, expected) in [
            ("filename", "place", Primitive::Int(1), "Offset objects should either be null or contain"),
            ("filename", "position", Primitive::from("x"), "is expected to be a Long value"),
            ("filename", "position", Primitive::Float(4f64.to_bits()), "is expected to be a Long value"),
            ("filename", "position", Primitive::Null, "is expected to be a Long value"),
            ("filename", "position", Primitive::Int(-1), "should be a non-negative value"),
            ("file", "position", Primitive::Int(1), "Partition objects should contain the key 'filename'"),
        ] {
            let error = alter(file, partition, Some((key, value)));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn one_task_reads_and_many_write() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut source = SourceConnector { has_file: true };
        assert_eq!(runtime.block_on(source.task_configs(5)).unwrap().len(), 1);
        assert_eq!(runtime.block_on(SinkConnector.task_configs(5)).unwrap().len(), 5);
    }
}
