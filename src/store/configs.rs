//! Connectors, their plans and what is wanted of them in a Kafka topic, so that Apache's distributed worker and this one
//! can take over from each other. One worker at a time: `kafka/seat.rs` sees to it.
//!
//! `config_log.rs` knows the records, `kafka/compacted.rs` the topic. The herder uses this as its [`ConnectorStore`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipette_api::{ConfigMap, ConnectError, ErrorKind, Result, async_trait};
use tokio::sync::{OnceCell, watch};

use super::config_log::ConfigLog;
use super::{ConnectorStore, NewPlan, Plan, StoredConnector};
use crate::kafka::compacted::{CompactedTopic, Row};
use crate::kafka::properties::{self, ClientProperties};
use crate::kafka::seat::{self, Seat, Sitter};
use crate::settings::group::StateTopics;

/// Between two looks whether the seat is free.
const LOOK: Duration = Duration::from_millis(300);
/// What a worker that has died may be seen for behind its session: Kafka looks now and then only.
const SLACK: Duration = Duration::from_secs(5);

/// Connectors in a topic.
pub struct TopicConnectors {
    topic: CompactedTopic,
    how: StateTopics,
    /// Of the client that sits in the group.
    sitter: ClientProperties,
    opened: OnceCell<()>,
    seat: Mutex<Option<Seat>>,
    is_kept_out: AtomicBool,
    log: Arc<Mutex<ConfigLog>>,
    /// One change at a time. True when the last one failed: what became of it has to be read.
    turn: tokio::sync::Mutex<bool>,
    lost: watch::Sender<Option<Arc<str>>>,
}

impl TopicConnectors {
    /// The topic of a worker. `identity` tells this worker's own past from other workers. Kafka is not asked yet.
    pub fn new(worker: &ConfigMap, how: &StateTopics, identity: &str) -> Result<Self> {
        let group = &how.group;
        let client = properties::own(worker, &format!("{group}-configs"))?;
        let name = &how.configs.name;
        let topic = if how.transactional {
            let id = format!("connect-cluster-{group}");
            CompactedTopic::transactional(name, &client, (&how.configs).into(), id)?
        } else {
            CompactedTopic::new(name, &client, (&how.configs).into())?
        };
        let mut sitter = properties::own(worker, &format!("{group}-pipette-{identity}"))?;
        sitter.insert("group.id".into(), group.clone());
        sitter.insert("session.timeout.ms".into(), how.session.as_millis().to_string());
        sitter.insert("heartbeat.interval.ms".into(), how.heartbeat.as_millis().to_string());
        Ok(Self {
            topic,
            how: how.clone(),
            sitter,
            opened: OnceCell::new(),
            seat: Mutex::default(),
            is_kept_out: AtomicBool::default(),
            log: Arc::default(),
            turn: tokio::sync::Mutex::default(),
            lost: watch::Sender::new(None),
        })
    }

    /// Takes the seat, makes the topic if it is missing and reads it, once. Everything else does this first. A retriable
    /// error asks to be called again.
    pub async fn open(&self) -> Result<()> {
        self.opened.get_or_try_init(async || self.open_once().await).await.copied()
    }

    /// Why this worker may run the connectors no more, once that is so.
    pub fn lost(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.lost.subscribe()
    }

    /// Another worker was in the group when this one looked last.
    pub fn is_kept_out(&self) -> bool {
        self.is_kept_out.load(Ordering::Relaxed)
    }

    /// Leaves the seat to the next worker at once. Blocks for a moment.
    pub fn leave(&self) {
        drop(self.seat().take());
    }

    async fn open_once(&self) -> Result<()> {
        let named = |error: ConnectError| error.within("config.storage.topic");
        self.topic.ensure("config.storage.*", "connectors").await.map_err(named)?;
        let partitions = self.topic.partitions().await.map_err(named)?;
        if partitions != 1 {
            return Err(ConnectError::config(format!(
                "config.storage.topic: Topic {} has {partitions} partitions and must have one, since the order of all \
                 records in it counts. Name another topic, or delete this one and let the worker make it",
                self.topic.name()
            )));
        }
        let was_ours = self.await_seat().await? && self.seat().is_none();
        let given = self.sit_down()?;
        // Kafka gives it only when the session of our own past is over. Nobody else can have it until then.
        if !was_ours {
            self.be_given(given).await?;
        }
        self.topic.take_over().await.map_err(named)?;
        self.read().await.map_err(named)
    }

    fn seat(&self) -> MutexGuard<'_, Option<Seat>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for as long as a worker that has died is still seen in the group. True when our own past has the seat.
    async fn await_seat(&self) -> Result<bool> {
        let patience = self.how.session + SLACK;
        let until = Instant::now() + patience;
        loop {
            let sitters = seat::sitters(&self.sitter).await?;
            let other = sitters.iter().find(|other| Some(&other.client) != self.sitter.get("client.id"));
            let was_told = self.is_kept_out.swap(other.is_some(), Ordering::Relaxed);
            let Some(other) = other else { return Ok(!sitters.is_empty()) };
            if Instant::now() >= until {
                return Err(taken(&self.how.group, other));
            }
            if !was_told {
                let Sitter { client, host, .. } = other;
                tracing::warn!(group = self.how.group, client, host, wait = ?patience, "Waiting for another worker to leave the group");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn sit_down(&self) -> Result<watch::Receiver<bool>> {
        let mut seat = self.seat();
        if let Some(seat) = &*seat {
            return Ok(seat.given.clone());
        }
        let told = self.lost.clone();
        let on_loss = move |why: String| lose(&told, &why);
        let taken = Seat::take(&self.sitter, self.topic.name(), on_loss)?;
        Ok(seat.insert(taken).given.clone())
    }

    async fn be_given(&self, mut given: watch::Receiver<bool>) -> Result<()> {
        let (mut lost, group) = (self.lost(), &self.how.group);
        tokio::select! {
            _ = given.wait_for(|given| *given) => Ok(()),
            Ok(why) = lost.wait_for(Option::is_some) => {
                Err(ConnectError::config(why.as_deref().unwrap_or_default()))
            }
            () = tokio::time::sleep(self.how.session + SLACK) => {
                Err(ConnectError::retriable(format!("Kafka gives this worker no place in group {group} yet")))
            }
        }
    }

    fn log(&self) -> MutexGuard<'_, ConfigLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<()> {
        let log = Arc::clone(&self.log);
        let each = move |_, key: &[u8], value: Option<&[u8]>| {
            log.lock().unwrap_or_else(PoisonError::into_inner).read(key, value);
        };
        self.topic.read(each).await
    }

    /// Writes what `rows` makes of the present state.
    async fn change(&self, rows: impl FnOnce(&ConfigLog) -> Vec<Row> + Send) -> Result<()> {
        self.open().await?;
        let mut failed = self.turn.lock().await;
        if let Some(why) = &*self.lost.borrow() {
            return Err(ConnectError::fatal(&**why));
        }
        if *failed {
            self.read().await?;
        }
        let rows = rows(&self.log());
        if rows.is_empty() {
            return Ok(());
        }
        *failed = true;
        match self.topic.write(rows.iter()).await {
            Ok(_) => {
                *failed = false;
                self.log().read_all(&rows);
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::Fatal {
                    lose(&self.lost, &error.to_string());
                }
                Err(error.within("config.storage.topic"))
            }
        }
    }
}

fn lose(lost: &watch::Sender<Option<Arc<str>>>, why: &str) {
    let text = format!(
        "This worker has lost its place: {why}. Its connectors stop here; one worker per group.id. Stop the other one and \
         start this one again, or give each a group.id and topics of its own"
    );
    lost.send_if_modified(|lost| lost.is_none() && lost.replace(text.into()).is_none());
}

fn taken(group: &str, other: &Sitter) -> ConnectError {
    let whose = if other.is_apache { "a worker of Apache" } else { "another worker" };
    let Sitter { client, host, .. } = other;
    ConnectError::config(format!(
        "group.id: {whose} runs in group {group} (client {client}, host {host}), and two would work against each other. \
         Stop it and start this one again, or give this one a group.id and topics of its own"
    ))
}

#[async_trait]
impl ConnectorStore for TopicConnectors {
    async fn load(&self) -> Result<Vec<StoredConnector>> {
        self.open().await?;
        Ok(self.log().connectors())
    }

    async fn put(&self, connector: &StoredConnector) -> Result<()> {
        self.change(|log| log.put(connector)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.change(|log| log.delete(name)).await
    }

    fn keeps_plans(&self) -> bool {
        true
    }

    fn plan(&self, name: &str) -> Plan {
        self.log().plan(name)
    }

    async fn put_plan(&self, plan: &NewPlan) -> Result<()> {
        let NewPlan { name, of, tasks, class, is_source } = plan;
        let exactly_once = self.how.exactly_once && *is_source;
        // One that was changed or deleted meanwhile has another plan to come, or none.
        let rows = |log: &ConfigLog| {
            if log.may_run(name, of) { log.put_plan(name, tasks, class, exactly_once) } else { Vec::new() }
        };
        self.change(rows).await
    }
}
