//! Statuses, and the topics that connectors have used, in a Kafka topic as Apache's distributed worker keeps them: for
//! whoever reads it, and for the worker that takes over. This one decides nothing by it.
//!
//! `herder/recorder.rs` says what should stand there; what stands there and should not is taken away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipette_api::{ConfigMap, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::kafka::compacted::{CompactedTopic, Row};
use crate::kafka::properties;
use crate::settings::group::StateTopics;

/// The values of one connector, by key.
pub type Rows = BTreeMap<String, String>;

/// The topic, and what stands in it.
pub struct TopicStatuses {
    topic: CompactedTopic,
    opened: OnceCell<()>,
    table: Arc<Mutex<Table>>,
}

/// By connector.
type Table = HashMap<Arc<str>, Rows>;

impl TopicStatuses {
    /// The topic of a worker. Kafka is not asked yet.
    pub fn new(worker: &ConfigMap, how: &StateTopics) -> Result<Self> {
        let client = properties::own(worker, &format!("{}-statuses", how.group))?;
        let topic = CompactedTopic::new(&how.statuses.name, &client, (&how.statuses).into())?;
        Ok(Self { topic, opened: OnceCell::new(), table: Arc::default() })
    }

    /// Makes the topic if it is missing and reads it, once. A retriable error asks to be called again.
    pub async fn open(&self) -> Result<()> {
        let open = async || {
            self.topic.ensure("status.storage.*", "statuses").await?;
            let table = Arc::clone(&self.table);
            let each = move |_, key: &[u8], value: Option<&[u8]>| {
                note(&mut table.lock().unwrap_or_else(PoisonError::into_inner), key, value);
            };
            self.topic.read(each).await
        };
        let opened = self.opened.get_or_try_init(open).await;
        opened.copied().map_err(|error| error.within("status.storage.topic"))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connectors that something is said of.
    pub fn connectors(&self) -> BTreeSet<Arc<str>> {
        self.table().keys().map(Arc::clone).collect()
    }

    /// The topics that a connector has used.
    pub fn topics(&self, connector: &str) -> Vec<UsedTopic> {
        let table = self.table();
        let rows = table.get(connector).into_iter().flatten();
        rows.filter(|(key, _)| key.starts_with(TOPIC)).filter_map(|(_, value)| UsedTopic::read(value)).collect()
    }

    /// What is to be written so that this and nothing else is said of the connectors.
    pub fn changes(&self, wanted: &BTreeMap<Arc<str>, Rows>) -> Vec<Row> {
        let table = self.table();
        let nothing = Rows::new();
        let of = |(connector, wanted): (&Arc<str>, &Rows)| {
            let known = table.get(connector).unwrap_or(&nothing);
            let new = wanted.iter().filter(|(key, value)| known.get(*key) != Some(value));
            let gone = known.keys().filter(|key| !wanted.contains_key(*key));
            let new = new.map(|(key, value)| (key.clone().into_bytes(), Some(value.clone().into_bytes())));
            new.chain(gone.map(|key| (key.clone().into_bytes(), None))).collect::<Vec<Row>>()
        };
        wanted.iter().flat_map(of).collect()
    }

    /// Writes them.
    pub async fn write(&self, rows: &[Row]) -> Result<()> {
        self.topic.write(rows.iter()).await?;
        let mut table = self.table();
        for (key, value) in rows {
            note(&mut table, key, value.as_deref());
        }
        Ok(())
    }
}

const CONNECTOR: &str = "status-connector-";
const TASK: &str = "status-task-";
const TOPIC: &str = "status-topic-";

/// Takes in a row. What is none of Apache's is left alone, here and in the topic.
fn note(table: &mut Table, key: &[u8], value: Option<&[u8]>) {
    let Ok(key) = std::str::from_utf8(key) else { return };
    let connector = if let Some(topic) = key.strip_prefix(TOPIC) {
        // A topic has no colon in its name, a connector may have.
        topic.split_once(":connector-").map(|(_, connector)| connector)
    } else if let Some(task) = key.strip_prefix(TASK) {
        task.rsplit_once('-').map(|(connector, _)| connector)
    } else {
        key.strip_prefix(CONNECTOR)
    };
    let Some(connector) = connector else { return };
    match value {
        Some(value) => {
            let value = String::from_utf8_lossy(value).into_owned();
            table.entry(connector.into()).or_default().insert(key.to_owned(), value);
        }
        None => {
            if let Some(rows) = table.get_mut(connector) {
                rows.remove(key);
                if rows.is_empty() {
                    table.remove(connector);
                }
            }
        }
    }
}

/// What is said of a connector or task.
#[derive(Debug)]
pub struct Said<'a> {
    /// The word.
    pub state: &'static str,
    /// Why, if there is something to explain.
    pub trace: Option<&'a str>,
    /// `host:port` of this worker.
    pub worker: &'a str,
    /// Of the plugin.
    pub version: Option<&'static str>,
}

impl Said<'_> {
    /// The row of a connector.
    pub fn of_connector(&self, name: &str) -> (String, String) {
        (format!("{CONNECTOR}{name}"), self.value())
    }

    /// The row of a task.
    pub fn of_task(&self, connector: &str, task: usize) -> (String, String) {
        (format!("{TASK}{connector}-{task}"), self.value())
    }

    /// Apache's workers heed no status that looks older than one they have written, or newer. Theirs begin at 1.
    fn value(&self) -> String {
        let Self { state, trace, worker, version } = self;
        let (state, worker) = (Value::from(*state), Value::from(*worker));
        let (trace, version) = (json!(trace), json!(version));
        format!(r#"{{"state":{state},"trace":{trace},"worker_id":{worker},"generation":0,"version":{version}}}"#)
    }
}

/// A topic that a connector has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedTopic {
    /// Its name.
    pub topic: Arc<str>,
    /// The task that used it first.
    pub task: usize,
    /// When, in milliseconds since 1970.
    pub since: i64,
}

impl UsedTopic {
    /// The row of it.
    pub fn of(&self, connector: &str) -> (String, String) {
        let Self { topic, task, since } = self;
        let (name, of) = (Value::from(&**topic), Value::from(connector));
        let value =
            format!(r#"{{"topic":{{"name":{name},"connector":{of},"task":{task},"discoverTimestamp":{since}}}}}"#);
        (format!("{TOPIC}{topic}:connector-{connector}"), value)
    }

    fn read(value: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(value).ok()?;
        let topic = &value["topic"];
        Some(Self {
            topic: topic["name"].as_str()?.into(),
            task: usize::try_from(topic["task"].as_u64()?).ok()?,
            since: topic["discoverTimestamp"].as_i64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the recorded topic of Apache's worker 4.3.1, in the order of each partition.
    fn recorded() -> Vec<(String, Option<String>)> {
        let lines = include_str!("../../tests/java/recorded/internal-topics.jsonl").lines();
        let rows = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        rows.filter(|row| row["topic"] == "connect-status")
            .map(|row| (row["key"].as_str().unwrap().to_owned(), text(&row["value"])))
            .collect()
    }

    #[test]
    fn the_rows_are_those_of_apaches_worker() {
        let rows = recorded();
        assert!(rows.len() > 20, "{rows:?}");
        let said = |state, version| Said { state, trace: None, worker: "127.0.0.1:8083", version };
        let theirs: BTreeSet<_> = rows
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_ref()?.clone())))
            .map(|(key, value)| (key, Value::from(value).as_str().unwrap().to_owned()))
            .collect();
        let generation =
            |text: &str, number: u32| text.replace("\"generation\":0", &format!("\"generation\":{number}"));
        for ((key, value), number) in [
            (said("RUNNING", Some("4.3.1")).of_connector("src"), 2),
            (said("RUNNING", Some("4.3.1")).of_task("snk", 1), 5),
            (said("UNASSIGNED", None).of_task("src", 0), 5),
            (said("STOPPED", Some("4.3.1")).of_connector("stopped"), 10),
        ] {
            assert!(theirs.contains(&(key.clone(), generation(&value, number))), "{key}: {value}");
        }
        let used = UsedTopic { topic: "t1".into(), task: 0, since: 1_795_410_797_078 };
        assert!(theirs.contains(&used.of("src")), "{:?}", used.of("src"));
    }

    #[test]
    fn what_a_recorded_topic_says_is_known_and_taken_away_by_connector() {
        let mut table = Table::new();
        for (key, value) in recorded() {
            note(&mut table, key.as_bytes(), value.as_deref().map(str::as_bytes));
        }
        let names: BTreeSet<&str> = table.keys().map(|name| &**name).collect();
        assert_eq!(names, BTreeSet::from(["bad", "src", "stopped"]), "snk was deleted");
        let src: Vec<&str> = table["src"].keys().map(String::as_str).collect();
        assert_eq!(src, ["status-connector-src", "status-topic-t1:connector-src"]);
        assert_eq!(UsedTopic::read(&table["src"]["status-topic-t1:connector-src"]).unwrap().topic, "t1".into());
        for other in ["status-task-nothing", "status-topic-nothing", "other", ""] {
            note(&mut table, other.as_bytes(), Some(b"{}"));
        }
        assert_eq!(table.len(), 3);
    }
}
