//! An asynchronous step for tests: a store with latency that appends its mark to every text it is needed for, and what it
//! has seen.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{
    AsyncTransform, AsyncTransformPlugin, ConfigDef, ConfigMap, ConnectError, Context, Datum, Direction, Folder, Info,
    Key, Outage, Position, Record, Result, Room, Settings, Shared, Signal, SourcePlace, TaskId, Transform,
    TransformContext, TransformPlugin, Value, Verdict, async_trait,
};
use pipette_kit::Dice;
use tokio::runtime::Handle;

use crate::metrics::WorkerMetrics;
use crate::task::spec::{StepPlugin, TransformSpec};

static MARK: Key<String> = Key::new("mark", "What it appends.").default("*");
static ABOUT: Key<String> = Key::new("about", "It is needed for texts that have this.").default("big");
static ALIAS: Key<String> = Key::new("alias", "Its name in the chain.").default("");
static CONFIG: ConfigDef =
    ConfigDef::new(&[&MAX_IN_FLIGHT.info, &MAX_IN_FLIGHT_BYTES.info, &MARK.info, &ABOUT.info, &ALIAS.info]);
static NO_KEYS: ConfigDef = ConfigDef::new(&[]);

/// What the stores of a task have seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) running: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) applied: AtomicUsize,
    pub(crate) stopped: AtomicUsize,
    /// The last position of a source, and how many records each step was told of there.
    last: Mutex<HashMap<String, (i64, u64)>>,
    /// What calls have begun outside and not ended: a cancelled one leaves its own here until `stop`.
    pub(crate) half: Mutex<BTreeSet<String>>,
}

struct Store {
    /// Tells the stores of a chain apart.
    alias: String,
    about: String,
    mark: String,
    seen: Arc<Seen>,
    dice: Mutex<Dice>,
}

/// Counts a call as long as it runs, also one that is dropped.
struct Running<'a>(&'a Seen);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl AsyncTransform for Store {
    fn needs(&self, record: &Record) -> bool {
        record.value.value.as_str().is_some_and(|text| text.contains(&self.about))
    }

    async fn apply(&self, record: &mut Record) -> Result<Verdict> {
        let text = record.value.value.as_str().unwrap_or_default().to_owned();
        let now = self.seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.most.fetch_max(now, Ordering::SeqCst);
        let _running = Running(&self.seen);
        self.seen.half.lock().unwrap().insert(text.clone());
        let wait = if text.contains("forever") { 1 << 40 } else { 1 + self.dice.lock().unwrap().below(20) };
        let _ = tokio::time::timeout(Duration::from_millis(wait), std::future::pending::<()>()).await;
        self.seen.half.lock().unwrap().remove(&text);
        let count = self.seen.applied.fetch_add(1, Ordering::SeqCst);
        assert!(!text.contains("panic"), "a toy that panics");
        match text {
            _ if text.contains("bad") => return Err(ConnectError::data("it is bad")),
            _ if text.contains("flaky") && !count.is_multiple_of(3) => {
                return Err(ConnectError::retriable("it is away"));
            }
            _ if text.contains("away") => return Err(ConnectError::retriable("it is away")),
            _ if text.contains("drop") => return Ok(Verdict::Drop),
            _ => {}
        }
        record.value.value = Value::text(format!("{text}{}", self.mark));
        Ok(Verdict::Keep)
    }

    fn ordinal(&self, position: &Position) -> u64 {
        let mut last = self.seen.last.lock().unwrap();
        let (mark, next) = last.entry(self.alias.clone()).or_default();
        let ordinal = if *mark == position.marks[0] { *next } else { 0 };
        (*mark, *next) = (position.marks[0], ordinal + 1);
        ordinal
    }

    async fn apply_at(&self, record: &mut Record, place: Option<SourcePlace<'_>>) -> Result<Verdict> {
        let placed = record.value.value.as_str().is_some_and(|text| text.contains("placed"));
        let verdict = self.apply(record).await?;
        if placed {
            let text = record.value.value.as_str().unwrap_or_default();
            let place =
                place.map_or("nowhere".into(), |place| format!("{}.{}", place.position.marks[0], place.ordinal));
            record.value.value = Value::text(format!("{text}@{place}"));
        }
        Ok(verdict)
    }

    async fn stop(&self) {
        self.seen.half.lock().unwrap().clear();
        self.seen.stopped.fetch_add(1, Ordering::SeqCst);
    }
}

static STORE: AsyncTransformPlugin = AsyncTransformPlugin {
    info: info("test.Store", &CONFIG),
    direction: Direction::Either,
    metrics: &[],
    make: |settings, context| {
        let seen = context.common.shared.get();
        let (about, mark) = (settings.get(&ABOUT)?, settings.get(&MARK)?);
        let alias = settings.get(&ALIAS)?;
        Ok(Box::new(Store { alias, about, mark, seen, dice: Mutex::new(Dice(7)) }))
    },
};

/// Appends how many records it has seen: a step that computes and knows the order.
struct Count(usize);

impl Transform for Count {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        self.0 += 1;
        let text = record.value.value.as_str().unwrap_or_default();
        record.value.value = Value::text(format!("{text}#{}", self.0));
        Ok(Verdict::Keep)
    }
}

static COUNT: TransformPlugin =
    TransformPlugin { info: info("test.Count", &NO_KEYS), make: |_| Ok(Box::new(Count(0))) };

const fn info(class: &'static str, config: &'static ConfigDef) -> Info {
    Info { class, aliases: &[], version: "1", about: "", readme: "", config }
}

/// A store in a chain, with these settings.
pub(crate) fn store(alias: &str, settings: &[(&str, &str)]) -> TransformSpec {
    let pairs = [settings, &[("alias", alias)]].concat();
    let map: ConfigMap = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let settings = Settings::new(map, &CONFIG);
    TransformSpec { alias: alias.into(), plugin: StepPlugin::Later(&STORE), settings, predicate: None }
}

/// A step that computes.
pub(crate) fn count(alias: &str) -> TransformSpec {
    let settings = Settings::new(ConfigMap::new(), &NO_KEYS);
    TransformSpec { alias: alias.into(), plugin: StepPlugin::Now(&COUNT), settings, predicate: None }
}

/// What steps are made with.
pub(crate) fn context(signal: Signal, shared: &Shared) -> TransformContext {
    let id = TaskId { connector: "c".into(), task: 0 };
    let metrics = WorkerMetrics::new().connector("c");
    let (connector, io) = (Arc::clone(&id.connector), Handle::current());
    let common = Context { connector, io, signal, shared: shared.clone(), metrics, folder: Folder::nowhere() };
    TransformContext { common, id, room: Room::default(), outage: Outage::default() }
}

/// A record of a text.
pub(crate) fn record(text: &str) -> Record {
    Record::new("t".into(), Datum::schemaless(Value::text(text)))
}
