//! The broker's state and the changes it allows; one thread owns it, so every change is a plain method call.
//!
//! A change is first in the journal, then in the catalogue, then visible. `crate::api` translates requests into calls
//! of these methods; `crate::server` runs the fsyncs that `unsynced` asks for.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use uuid::Uuid;

use crate::group::Group;
use crate::storage::Refused;
use crate::storage::catalogue::{Catalogue, Event, Topic};
use crate::storage::folder::Folder;
use crate::storage::journal::{Journal, Opened, sync_folder};
use crate::storage::log::{Log, Mark, Receipt};
use crate::{BrokerConfig, BrokerError};

/// Producer ids reserved in the journal at a time, so that handing one out writes nothing.
const RESERVED_IDS: i64 = 1_000;
/// How long a group that nobody uses and that has no offsets stays known to admin clients.
const FORGET_GROUP_AFTER: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(crate) struct Node {
    pub config: BrokerConfig,
    pub catalogue: Catalogue,
    pub groups: HashMap<String, Group>,
    folder: Folder,
    journal: Journal,
    logs: HashMap<String, Vec<Log>>,
    next_producer_id: i64,
    /// When transactions were last looked at, and when what is unused was last forgotten.
    pub(crate) checked: Instant,
    pub(crate) swept: Instant,
}

/// Files that hold something not yet durable.
#[derive(Debug)]
pub(crate) struct Unsynced {
    logs: Vec<UnsyncedLog>,
    journal: Option<Arc<File>>,
}

#[derive(Debug)]
struct UnsyncedLog {
    topic: String,
    partition: i32,
    file: Arc<File>,
    mark: Mark,
}

/// How the fsyncs of an [`Unsynced`] went.
#[derive(Debug)]
pub(crate) struct Synced {
    logs: Vec<(UnsyncedLog, io::Result<()>)>,
    journal: io::Result<()>,
}

impl Unsynced {
    /// Blocks until the disk has answered.
    pub(crate) fn sync(self) -> Synced {
        let sync = |log: UnsyncedLog| {
            let result = log.file.sync_data();
            (log, result)
        };
        let logs = self.logs.into_iter().map(sync).collect();
        Synced { logs, journal: self.journal.map_or(Ok(()), |file| file.sync_data()) }
    }
}

impl Node {
    /// Takes the data folder and reads all that is in it.
    pub(crate) fn open(config: &BrokerConfig) -> Result<Node, BrokerError> {
        let unusable = |error| BrokerError::Folder { folder: config.dir.clone(), error };
        let refused = |refused: Refused| unusable(io::Error::other(refused.why));
        let folder = Folder::open(&config.dir)?;
        let Opened { journal, catalogue, deleted_topics } = Journal::open(folder.path()).map_err(unusable)?;
        for (name, id) in deleted_topics {
            let leftover = folder.topic(&name, id);
            if leftover.exists() {
                fs::remove_dir_all(&leftover).map_err(unusable)?;
            }
        }
        let mut node = Node {
            config: config.clone(),
            next_producer_id: catalogue.next_producer_id,
            catalogue,
            groups: HashMap::new(),
            folder,
            journal,
            logs: HashMap::new(),
            checked: Instant::now(),
            swept: Instant::now(),
        };
        let topics: Vec<(String, Topic)> =
            node.catalogue.topics.iter().map(|(name, topic)| (name.clone(), topic.clone())).collect();
        for (name, topic) in topics {
            let logs = node.open_logs(&name, &topic, 0).map_err(unusable)?;
            node.logs.insert(name, logs);
        }
        let seen = node.logs.values().flatten().filter_map(Log::highest_producer_id).max();
        node.next_producer_id = node.next_producer_id.max(seen.map_or(0, |id| id + 1));
        if node.catalogue.cluster.is_none() {
            node.change(Event::Cluster { id: Uuid::new_v4() }).map_err(refused)?;
        }
        node.abort_orphans().map_err(refused)?;
        Ok(node)
    }

    fn open_logs(&self, name: &str, topic: &Topic, from: i32) -> io::Result<Vec<Log>> {
        let folder = self.folder.topic(name, topic.id);
        fs::create_dir_all(&folder)?;
        let mut logs = Vec::new();
        for partition in from..topic.partitions {
            let start = topic.starts.get(&partition).copied().unwrap_or(0);
            logs.push(Log::open(&folder.join(format!("{partition}.log")), start, self.config.fsync)?);
        }
        if self.config.fsync {
            sync_folder(&folder)?;
            sync_folder(&self.folder.topics())?;
        }
        Ok(logs)
    }

    /// Makes a change: journal first. Nothing has changed if this refuses.
    pub(crate) fn change(&mut self, event: Event) -> Result<(), Refused> {
        let written = self.journal.append(&event);
        written.map_err(|error| {
            tracing::error!(folder = %self.folder.path().display(), %error, "Cannot write to the journal");
            Refused::storage(format!("cannot write the broker's journal: {error}"))
        })?;
        self.catalogue.apply(event);
        if let Err(error) = self.journal.compact_if_grown(&self.catalogue) {
            // The old journal still holds everything; the next change tries again.
            tracing::warn!(folder = %self.folder.path().display(), %error, "Cannot compact the journal");
        }
        Ok(())
    }

    pub(crate) fn log(&self, topic: &str, partition: i32) -> Result<&Log, ResponseError> {
        let logs = self.logs.get(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let log = usize::try_from(partition).ok().and_then(|partition| logs.get(partition));
        log.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(crate) fn log_mut(&mut self, topic: &str, partition: i32) -> Result<&mut Log, ResponseError> {
        let logs = self.logs.get_mut(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let log = usize::try_from(partition).ok().and_then(|partition| logs.get_mut(partition));
        log.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// The name must be legal and free, the number at least one.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<(), Refused> {
        let topic = Topic { id: Uuid::new_v4(), partitions, configs, starts: BTreeMap::new() };
        let opened = self.open_logs(name, &topic, 0).map_err(|error| {
            tracing::error!(topic = name, %error, "Cannot create a topic's files");
            Refused::storage(format!("cannot create the files of topic {name}: {error}"))
        });
        let created = opened.and_then(|logs| {
            let Topic { id, configs, .. } = topic;
            self.change(Event::Topic { name: name.to_owned(), id, partitions, configs }).map(|()| logs)
        });
        match created {
            Ok(logs) => {
                self.logs.insert(name.to_owned(), logs);
                Ok(())
            }
            Err(refused) => {
                let _ = fs::remove_dir_all(self.folder.topic(name, topic.id));
                Err(refused)
            }
        }
    }

    /// Changes a topic's partitions (only to more) or configuration.
    pub(crate) fn change_topic(&mut self, name: &str, topic: Topic) -> Result<(), Refused> {
        let have = self.logs.get(name).map_or(0, Vec::len);
        let from = i32::try_from(have).unwrap_or(i32::MAX);
        let added = self.open_logs(name, &topic, from).map_err(|error| {
            tracing::error!(topic = name, %error, "Cannot create a partition's files");
            Refused::storage(format!("cannot create files of topic {name}: {error}"))
        })?;
        let Topic { id, partitions, configs, .. } = topic;
        self.change(Event::Topic { name: name.to_owned(), id, partitions, configs })?;
        self.logs.entry(name.to_owned()).or_default().extend(added);
        Ok(())
    }

    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<(), Refused> {
        let Some(topic) = self.catalogue.topics.get(name) else {
            return Err(Refused::new(ResponseError::UnknownTopicOrPartition, format!("there is no topic {name}")));
        };
        let folder = self.folder.topic(name, topic.id);
        self.change(Event::TopicDeleted { name: name.to_owned() })?;
        self.logs.remove(name);
        if let Err(error) = fs::remove_dir_all(&folder) {
            // The topic is gone; its files go at the next start, which finds the deletion in the journal.
            tracing::warn!(folder = %folder.display(), %error, "Cannot remove a deleted topic's files yet");
        }
        Ok(())
    }

    /// Records below `before` are no longer served; gives the partition's first offset.
    pub(crate) fn delete_records(&mut self, topic: &str, partition: i32, before: i64) -> Result<i64, Refused> {
        let missing = |code| Refused::new(code, format!("there is no {topic}-{partition}"));
        let log = self.log(topic, partition).map_err(missing)?;
        let before = if before == -1 { log.visible_end() } else { before };
        if before < 0 || before > log.visible_end() {
            return Err(Refused::new(ResponseError::OffsetOutOfRange, format!("there is no offset {before}")));
        }
        if before > log.start() {
            self.change(Event::RecordsDeleted { topic: topic.to_owned(), partition, before })?;
            self.log_mut(topic, partition).map_err(missing)?.delete_before(before);
        }
        Ok(self.log(topic, partition).map_err(missing)?.start())
    }

    pub(crate) fn take_producer_id(&mut self) -> Result<i64, Refused> {
        if self.next_producer_id >= self.catalogue.next_producer_id {
            self.change(Event::ProducerIds { below: self.next_producer_id + RESERVED_IDS })?;
        }
        self.next_producer_id += 1;
        Ok(self.next_producer_id - 1)
    }

    /// The group of that name, a new one if need be.
    pub(crate) fn group(&mut self, name: &str, now: Instant) -> &mut Group {
        let delay = self.config.first_rebalance_delay;
        self.groups.entry(name.to_owned()).or_insert_with(|| Group::new(delay, now))
    }

    /// Time has passed; whether a transaction is now to be ended.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        for group in self.groups.values_mut() {
            group.tick(now);
        }
        self.groups.retain(|_, group| group.idle(now).is_none_or(|idle| idle < FORGET_GROUP_AFTER));
        self.tick_transactions(now)
    }

    /// Topic, partition and producer of each transaction that is open in a log.
    pub(crate) fn open_in_logs(&self) -> Vec<(String, i32, i64)> {
        let mut found = Vec::new();
        for (topic, partitions) in &self.logs {
            for (partition, log) in (0..).zip(partitions) {
                found.extend(log.open_transactions().map(|producer_id| (topic.clone(), partition, producer_id)));
            }
        }
        found
    }

    pub(crate) fn expire_producers(&mut self, now: Instant) {
        let silence = self.config.producer_id_expiration;
        for log in self.logs.values_mut().flatten() {
            log.expire_producers(now, silence);
        }
    }

    /// Whether an answer has to wait for the journal.
    pub(crate) fn must_sync_journal(&self) -> bool {
        self.config.fsync && self.journal.has_unsynced()
    }

    /// What to fsync now.
    pub(crate) fn unsynced(&mut self) -> Unsynced {
        let mut logs = Vec::new();
        for (topic, partitions) in &self.logs {
            for (partition, log) in (0..).zip(partitions) {
                if let Some((file, mark)) = log.unsynced() {
                    logs.push(UnsyncedLog { topic: topic.clone(), partition, file, mark });
                }
            }
        }
        Unsynced { logs, journal: self.journal.unsynced() }
    }

    /// Takes the outcome of the fsyncs in. An error means that the journal's changes are not durable.
    pub(crate) fn synced(&mut self, synced: Synced) -> io::Result<()> {
        for (UnsyncedLog { topic, partition, file, mark }, result) in synced.logs {
            let Ok(log) = self.log_mut(&topic, partition) else { continue };
            if !log.is_stored_in(&file) {
                continue;
            }
            let Err(error) = result else {
                log.synced(mark);
                continue;
            };
            tracing::error!(topic, partition, %error, "The disk did not take records; they are refused");
            if let Err(error) = log.take_back() {
                tracing::error!(topic, partition, %error, "Cannot read a log back after a failed fsync");
            }
        }
        if let Err(error) = synced.journal {
            tracing::error!(%error, "The disk did not take the journal; it is written anew");
            self.journal.rewrite(&self.catalogue)?;
        }
        self.journal.synced();
        Ok(())
    }

    pub(crate) fn is_durable(&self, topic: &str, partition: i32, receipt: &Receipt) -> bool {
        self.log(topic, partition).is_ok_and(|log| log.is_durable(receipt))
    }
}
