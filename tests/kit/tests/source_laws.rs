//! The smallest complete source keeps every law; each defect breaks the law that is about it.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use pipette_api::config::ConfigMap;
use pipette_api::{
    ConfigDef, ConnectError, Connector, ExactlyOnce, Info, Key, OffsetShape, Partition, Position, Record, Result,
    Settings, Signal, SourceBatch, SourceContext, SourceEntry, SourcePlugin, SourceRecord, SourceTask, async_trait,
};
use pipette_kit::{Broken, Capability, Ruling, SourceDriver, SourceTraits, build, source_laws};

/// An outside system: a log that only grows. Plugins are plain functions, so it is found by the name in the settings.
#[derive(Default)]
struct Log {
    texts: Mutex<Vec<String>>,
    away: AtomicBool,
}

static LOGS: LazyLock<Mutex<HashMap<String, Arc<Log>>>> = LazyLock::new(Mutex::default);
static LOG: Key<String> = Key::new("log", "The log to read.");
static DEFECT: Key<String> = Key::new("defect", "What is wrong with the source.").default("");
static SIZE: Key<i32> = Key::new("size", "The most records of one batch.").default("20");
static CONFIG: ConfigDef = ConfigDef::new(&[&LOG.info, &DEFECT.info, &SIZE.info]);
static TOY: SourcePlugin = SourcePlugin {
    exactly_once: |_| ExactlyOnce::Supported,
    ..SourcePlugin::new(
        Info { class: "ToySource", aliases: &[], version: "1", about: "Reads a log.", readme: "", config: &CONFIG },
        |settings| Ok(Box::new(Plan { defect: settings.get(&DEFECT)? })),
        |settings| Ok(Box::new(Toy::new(&settings)?)),
    )
};
/// The most records of one batch.
const BATCH: usize = 20;

struct Plan {
    defect: String,
}

#[async_trait]
impl Connector for Plan {
    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        Ok(match self.defect.as_str() {
            "plans too many" => vec![ConfigMap::new(); max + 1],
            "plans no task" => Vec::new(),
            "plans a broken task" => vec![build::config(&[("size", "large")])],
            "every task reads all" => vec![ConfigMap::new(); max],
            _ => vec![ConfigMap::new()],
        })
    }
}

struct Toy {
    log: Arc<Log>,
    defect: String,
    at: usize,
    partition: Arc<Partition>,
    shape: Arc<OffsetShape>,
    signal: Option<Signal>,
}

impl Toy {
    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            log: Arc::clone(&LOGS.lock().unwrap()[&settings.get(&LOG)?]),
            defect: settings.get(&DEFECT)?,
            at: 0,
            partition: Arc::new(Partition::of("log", "toy")),
            shape: Arc::new(OffsetShape { marks: [Some("next"), None], ..OffsetShape::default() }),
            signal: None,
        })
    }

    fn entry(&self, index: usize, text: &str) -> SourceEntry {
        let mut next = index + 1;
        if self.defect == "commits ahead" {
            next += BATCH;
        }
        let (partition, shape) = (Arc::clone(&self.partition), Arc::clone(&self.shape));
        let position = Some(Position { partition, shape, marks: [i64::try_from(next).unwrap(), 0] });
        if text.starts_with("bad") {
            let error = match self.defect.as_str() {
                "bad input without a name" => ConnectError::data("bad input"),
                "bad input of another kind" => ConnectError::fatal(format!("bad input {text}")),
                _ => ConnectError::data(format!("{text} cannot be read")),
            };
            let position = position.filter(|_| self.defect != "bad input without a position");
            return SourceEntry::Bad { position, raw: None, error };
        }
        let record = Record::new(Arc::from("toys"), build::text(text));
        SourceEntry::Record(SourceRecord { record, position })
    }

    fn take(&mut self) -> Vec<SourceEntry> {
        let mut log = self.log.texts.lock().unwrap();
        let most = if self.defect == "unbounded" { usize::MAX } else { BATCH };
        let new: Vec<_> = log.iter().enumerate().skip(self.at).take(most).collect();
        let mut entries: Vec<_> = new.iter().map(|(index, text)| self.entry(*index, text)).collect();
        self.at += entries.len();
        match self.defect.as_str() {
            "loses one" if entries.len() > 2 => drop(entries.remove(2)),
            "doubles" => entries.extend(new.first().map(|(index, text)| self.entry(*index, text))),
            "reverses" => entries.reverse(),
            // Gone before anybody acknowledged it.
            "deletes early" => log.iter_mut().take(self.at).for_each(|text| *text = "bad".into()),
            _ => {}
        }
        entries
    }
}

#[async_trait]
impl SourceTask for Toy {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        let offset = context.offsets.get(&self.partition).await?.filter(|_| self.defect != "forgets");
        let next = offset.and_then(|offset| offset.get("next")?.as_int());
        self.at = usize::try_from(next.unwrap_or(0)).unwrap();
        if self.defect == "skips on resume" && next.is_some() {
            self.at += 1;
        }
        if self.defect == "leaves a future" {
            context.common.io.spawn(std::future::pending::<()>());
        }
        self.signal = Some(context.common.signal);
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        let signal = self.signal.clone().unwrap();
        let mut look = tokio::time::interval(Duration::from_millis(2));
        loop {
            if self.log.away.load(Ordering::Relaxed) && self.defect != "waits out an outage" {
                return Err(match self.defect.as_str() {
                    "fatal outage" => ConnectError::fatal("the log is away"),
                    _ => ConnectError::retriable("the log is away"),
                });
            }
            let entries = self.take();
            if !entries.is_empty() {
                return Ok(SourceBatch::of(entries));
            }
            tokio::select! {
                () = signal.recalled() => break,
                _ = look.tick() => {}
            }
        }
        match self.defect.as_str() {
            "slow to return" => {
                drop(tokio::time::timeout(Duration::from_millis(1200), std::future::pending::<()>()).await);
            }
            "empty batches move on" => self.at += 1,
            "forgets all at once" => {
                let forget = |_| SourceEntry::Forget(Arc::clone(&self.partition));
                return Ok(SourceBatch::of((0..=BATCH).map(forget).collect()));
            }
            _ => {}
        }
        Ok(SourceBatch::empty())
    }
}

struct Driver {
    name: String,
    log: Arc<Log>,
    defect: &'static str,
}

impl Driver {
    fn new(defect: &'static str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("log {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let log = Arc::new(Log::default());
        LOGS.lock().unwrap().insert(name.clone(), Arc::clone(&log));
        Self { name, log, defect }
    }
}

impl SourceDriver for Driver {
    fn plugin(&self) -> &'static SourcePlugin {
        &TOY
    }

    fn config(&self) -> ConfigMap {
        build::config(&[("log", &self.name), ("defect", self.defect)])
    }

    fn traits(&self) -> SourceTraits {
        let all = Capability::Yes;
        SourceTraits { resumable: all, ordered: all, outage: all, bad_input: all, most_per_poll: BATCH }
    }

    fn write(&mut self, texts: &[String]) {
        self.log.texts.lock().unwrap().extend_from_slice(texts);
    }

    fn outage(&mut self, away: bool) {
        self.log.away.store(away, Ordering::Relaxed);
    }

    fn write_bad(&mut self) -> Vec<String> {
        self.write(&["bad 7".to_owned()]);
        vec!["bad 7".to_owned()]
    }

    fn left_behind(&mut self) -> Vec<String> {
        if self.defect == "leaves a file" { vec!["toy.lock".to_owned()] } else { Vec::new() }
    }
}

/// Each law with defects that break it, and a part of what the law then says.
const DEFECTS: &[(&str, &str, &str)] = &[
    ("S5", "plans too many", "asked for at most 1 tasks, it plans 2"),
    ("S5", "plans no task", "asked for at most 1 tasks, it plans 0"),
    ("S5", "plans a broken task", "Invalid value large for configuration size"),
    ("S5", "every task reads all", "more than once"),
    ("S6", "loses one", "3 of 35 records are missing"),
    ("S6", "doubles", "more than once"),
    ("S6o", "reverses", "behind a record that was written after it"),
    ("S7", "commits ahead", "committed behind record 1 of 20"),
    ("S7", "skips on resume", "committed behind record 1 of 20"),
    ("S7", "forgets", "more than once"),
    ("S8", "deletes early", "12 of 12 records are missing"),
    ("S8", "forgets", "settled records come again"),
    ("S9", "slow to return", "to return after stop"),
    ("S9b", "commits ahead", "records are missing"),
    ("S10", "fatal outage", "an outage is a Fatal error"),
    ("S10", "waits out an outage", "start and poll succeed"),
    ("S11", "bad input without a name", "does not name bad 7"),
    ("S11", "bad input of another kind", "bad input is a Fatal error"),
    ("S11", "bad input without a position", "a restart meets it again"),
    ("S12", "leaves a future", "1 spawned futures"),
    ("S12", "leaves a file", "toy.lock"),
    ("S13", "unbounded", "hands over 41 entries"),
    ("S13", "forgets all at once", "hands over 21 entries"),
    ("S14", "empty batches move on", "2 of 4 records are missing"),
];

#[test]
fn a_right_source_keeps_every_law() {
    source_laws::check(|| Driver::new(""));
}

#[test]
fn every_law_is_seen_to_fail() {
    let threads: Vec<_> = DEFECTS.iter().map(|defect| std::thread::spawn(|| seen_to_fail(defect))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for (id, ..) in source_laws::LAWS {
        assert!(DEFECTS.iter().any(|(broken, ..)| broken == id), "no defect breaks {id}");
    }
}

fn seen_to_fail((id, defect, says): &(&str, &'static str, &str)) {
    let (_, _, law) = source_laws::LAWS.iter().find(|(law, ..)| law == id).unwrap();
    let Err(Broken(reason)) = law(&mut Driver::new(defect)) else { panic!("{id} holds although the source {defect}") };
    assert!(reason.contains(says), "{id}, {defect}: {reason}");
}

#[test]
#[should_panic(expected = "ToySource breaks 1 of 12 laws:\n  S13")]
fn a_broken_law_fails_the_run_by_name() {
    source_laws::check(|| Driver::new("unbounded"));
}

#[test]
fn what_a_source_does_not_claim_is_told_with_its_reason() {
    struct Forgetful(Driver);
    impl SourceDriver for Forgetful {
        fn plugin(&self) -> &'static SourcePlugin {
            &TOY
        }
        fn config(&self) -> ConfigMap {
            self.0.config()
        }
        fn traits(&self) -> SourceTraits {
            SourceTraits { resumable: Capability::No("a radio has no memory"), ..self.0.traits() }
        }
        fn write(&mut self, texts: &[String]) {
            self.0.write(texts);
        }
    }
    let (.., law) = source_laws::LAWS.iter().find(|(id, ..)| *id == "S7").unwrap();
    assert_eq!(law(&mut Forgetful(Driver::new(""))), Ok(Ruling::NotApplicable("a radio has no memory")));
}
