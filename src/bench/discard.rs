//! A sink that throws its records away: what a pipeline costs without a destination.
//!
//! Known only to a worker that is started for the benchmark (`pipette run --bench-plugins`). Its twin for Apache's
//! worker, of the same name and keys, is `tests/java/src/DiscardSinkConnector.java`.

use std::fs::File;
use std::sync::Arc;

use pipette_api::{
    ConfigDef, ConfigMap, ConnectError, Connector, Info, Key, Plugin, Result, Settings, SinkBatch, SinkContext,
    SinkPlugin, SinkTask, async_trait,
};

static RECORDS: Key<u64> = Key::new("records", "After so many records the mark `done` is set.");
static MARKS: Key<String> = Key::new(
    "marks",
    "Start of the names of two empty files: `.first` is made with the first record, `.done` with the last.",
);
static CONFIG: ConfigDef = ConfigDef::new(&[&RECORDS.info, &MARKS.info]);

/// The one plugin.
pub static PLUGINS: &[Plugin] = &[Plugin::Sink(SinkPlugin::new(
    Info {
        class: "io.pipette.bench.DiscardSinkConnector",
        aliases: &[],
        version: env!("CARGO_PKG_VERSION"),
        about: "Throws records away; for benchmarks.",
        readme: "",
        config: &CONFIG,
    },
    |_| Ok(Box::new(OneTask)),
    |settings| Ok(Box::new(Discard::new(&settings)?)),
))];

struct OneTask;

#[async_trait]
impl Connector for OneTask {
    async fn task_configs(&mut self, _max: usize) -> Result<Vec<ConfigMap>> {
        Ok(vec![ConfigMap::new()])
    }
}

struct Discard {
    wanted: u64,
    seen: u64,
    marks: String,
}

impl Discard {
    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { wanted: settings.get(&RECORDS)?, seen: 0, marks: settings.get(&MARKS)? })
    }

    fn mark(&self, ending: &str) -> Result<()> {
        let mark = format!("{}.{ending}", self.marks);
        let made = File::create(&mark);
        made.map(drop).map_err(|error| ConnectError::fatal(format!("Cannot set the mark {mark}")).because(error))
    }
}

#[async_trait]
impl SinkTask for Discard {
    async fn start(&mut self, _context: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        if self.seen == 0 && !batch.records.is_empty() {
            self.mark("first")?;
        }
        let before = self.seen;
        self.seen += batch.records.len() as u64;
        if before < self.wanted && self.seen >= self.wanted {
            self.mark("done")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::TopicPartition;
    use pipette_kit::SinkHarness;
    use pipette_kit::build::{config, text};

    use super::*;
    use crate::plugins::Plugins;

    #[test]
    fn marks_tell_the_first_record_and_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let marks = folder.path().join("run.1");
        let there = |ending: &str| folder.path().join(format!("run.1.{ending}")).exists();
        let [Plugin::Sink(plugin)] = PLUGINS else { unreachable!("one sink") };
        let mut sink =
            SinkHarness::new(plugin, config(&[("records", "3"), ("marks", marks.to_str().unwrap())])).unwrap();
        sink.start().unwrap();
        let tp = TopicPartition::new("t", 0);
        sink.open(std::slice::from_ref(&tp)).unwrap();
        for (values, first, done) in [(0, false, false), (2, true, false), (2, true, true)] {
            sink.put(&tp, vec![text("x"); values]).unwrap().1.unwrap();
            assert_eq!((there("first"), there("done")), (first, done), "after {values} more");
        }
    }

    #[test]
    fn only_a_worker_for_the_benchmark_knows_it() {
        let class = PLUGINS[0].info().class;
        assert!(Plugins::built_in().connector(class).is_err());
        assert!(Plugins::built_in().and(PLUGINS).connector(class).is_ok());
    }
}
