//! The smallest complete sink keeps every law; each defect breaks the law that is about it.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use pipette_api::config::ConfigMap;
use pipette_api::{
    ConfigDef, ConnectError, Connector, Datum, Info, Key, Offsets, Result, Settings, SinkBatch, SinkContext,
    SinkPlugin, SinkTask, TopicPartition, Value, async_trait,
};
use pipette_kit::{Broken, Capability, Redelivery, SinkDriver, SinkTraits, build, sink_laws};

/// An outside system: rows under the key of partition and offset. Plugins are plain functions, so it is found by the
/// name in the settings.
#[derive(Default)]
struct Table {
    rows: Mutex<Vec<Row>>,
    away: AtomicBool,
}

type Row = (TopicPartition, i64, String);

static TABLES: LazyLock<Mutex<HashMap<String, Arc<Table>>>> = LazyLock::new(Mutex::default);
static TABLE: Key<String> = Key::new("table", "The table to write.");
static DEFECT: Key<String> = Key::new("defect", "What is wrong with the sink.").default("");
static CONFIG: ConfigDef = ConfigDef::new(&[&TABLE.info, &DEFECT.info]);
static TOY: SinkPlugin = SinkPlugin::new(
    Info { class: "ToySink", aliases: &[], version: "1", about: "Writes a table.", readme: "", config: &CONFIG },
    |_| Ok(Box::new(Plan)),
    |settings| Ok(Box::new(Toy::new(&settings)?)),
);

struct Plan;

#[async_trait]
impl Connector for Plan {
    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        Ok(vec![ConfigMap::new(); max])
    }
}

struct Toy {
    table: Arc<Table>,
    defect: String,
    buffer: Vec<Row>,
    context: Option<SinkContext>,
}

impl Toy {
    fn new(settings: &Settings) -> Result<Self> {
        let table = Arc::clone(&TABLES.lock().unwrap()[&settings.get(&TABLE)?]);
        Ok(Self { table, defect: settings.get(&DEFECT)?, buffer: Vec::new(), context: None })
    }

    fn write(&mut self) {
        let mut rows = self.table.rows.lock().unwrap();
        if self.defect == "reverses" {
            self.buffer.reverse();
        }
        for row in self.buffer.drain(..) {
            let known = rows.iter().any(|(tp, offset, _)| (tp, offset) == (&row.0, &row.1));
            if !known || self.defect == "doubles" {
                rows.push(row);
            }
        }
    }
}

#[async_trait]
impl SinkTask for Toy {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        if self.defect == "leaves a future" {
            context.common.io.spawn(std::future::pending::<()>());
        }
        self.context = Some(context);
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        if self.table.away.load(Ordering::Relaxed) && self.defect != "hides an outage" {
            return Err(match self.defect.as_str() {
                "fatal outage" => ConnectError::fatal("the table is away"),
                _ => ConnectError::retriable("the table is away"),
            });
        }
        for (index, record) in batch.records.iter().enumerate() {
            let Some(text) = record.record.value.value.as_str() else {
                let error = ConnectError::data("not a text");
                match self.defect.as_str() {
                    "poisoned as a whole" => return Err(error),
                    "passes over poison" => {}
                    _ => self.context.as_ref().unwrap().runtime.report(&batch, index, error),
                }
                continue;
            };
            if self.defect != "loses one" || record.origin.offset != 3 {
                self.buffer.push((record.origin.tp.clone(), record.origin.offset, text.to_owned()));
            }
        }
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        match self.defect.as_str() {
            "promises too early" => {}
            "promises too much" => return Ok(upto.iter().map(|(tp, offset)| (tp.clone(), offset + 1)).collect()),
            _ => self.write(),
        }
        Ok(upto.clone())
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let all = self.defect == "drops all on close";
        self.buffer.retain(|(tp, ..)| !all && !partitions.contains(tp));
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        self.write();
        Ok(())
    }
}

struct Driver {
    name: String,
    table: Arc<Table>,
    defect: &'static str,
}

impl Driver {
    fn new(defect: &'static str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("table {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let table = Arc::new(Table::default());
        TABLES.lock().unwrap().insert(name.clone(), Arc::clone(&table));
        Self { name, table, defect }
    }
}

impl SinkDriver for Driver {
    fn plugin(&self) -> &'static SinkPlugin {
        &TOY
    }

    fn config(&self) -> ConfigMap {
        build::config(&[("table", &self.name), ("defect", self.defect)])
    }

    fn traits(&self) -> SinkTraits {
        let redelivery = match self.defect {
            "idempotent in secret" => Redelivery::Duplicates("says so"),
            _ => Redelivery::Idempotent,
        };
        SinkTraits { ordered: Capability::Yes, redelivery, outage: Capability::Yes, poison: Capability::Yes }
    }

    fn contents(&mut self) -> Vec<String> {
        self.table.rows.lock().unwrap().iter().map(|(.., text)| text.clone()).collect()
    }

    fn outage(&mut self, away: bool) {
        self.table.away.store(away, Ordering::Relaxed);
    }

    fn poison(&self) -> Datum {
        Datum::schemaless(Value::I32(1))
    }

    fn left_behind(&mut self) -> Vec<String> {
        if self.defect == "leaves a connection" { vec!["1 connection".to_owned()] } else { Vec::new() }
    }
}

/// Each law with defects that break it, and a part of what the law then says.
const DEFECTS: &[(&str, &str, &str)] = &[
    ("K5", "loses one", "2 of 45 records are missing"),
    ("K5o", "reverses", "out of order"),
    ("K6", "doubles", "more than once"),
    ("K6", "idempotent in secret", "declare it idempotent"),
    ("K7", "fatal outage", "an outage is a Fatal error"),
    ("K7", "hides an outage", "put and flush succeed"),
    ("K8", "promises too early", "flush promised up to 10"),
    ("K8", "promises too much", "which was never put"),
    ("K9", "drops all on close", "records are missing"),
    ("K10", "poisoned as a whole", "fails the whole batch"),
    ("K10", "passes over poison", "not one data error"),
    ("K11", "leaves a future", "1 spawned futures"),
    ("K11", "leaves a connection", "1 connection"),
];

#[test]
fn a_right_sink_keeps_every_law() {
    sink_laws::check(|| Driver::new(""));
}

#[test]
fn every_law_is_seen_to_fail() {
    for (id, defect, says) in DEFECTS {
        let (_, _, law) = sink_laws::LAWS.iter().find(|(law, ..)| law == id).unwrap();
        let Err(Broken(reason)) = law(&mut Driver::new(defect)) else { panic!("{id} holds although it {defect}") };
        assert!(reason.contains(says), "{id}, {defect}: {reason}");
    }
    for (id, ..) in sink_laws::LAWS {
        assert!(DEFECTS.iter().any(|(broken, ..)| broken == id), "no defect breaks {id}");
    }
}
