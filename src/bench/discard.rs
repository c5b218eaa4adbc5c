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
