//! The first step of a sink when it makes one record of several: pieces are gathered before the converters, and no offset
//! is committed behind the first piece of something incomplete.
//!
//! What is complete and durable in the sink behind that offset stands in a note beside it, so that it does not come twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipette_api::{Assigned, Collect, ConnectError, Offsets, RawRecord, Result, TopicPartition, TransformContext};

use crate::kafka::consumer::ConsumerCommand;
use crate::kafka::intents;
use crate::task::chain::{context_of, named};
use crate::task::guard::Stage;
use crate::task::report::Failure;
use crate::task::sink::SinkLoop;
use crate::task::spec::{StepPlugin, TransformSpec};

/// What stands beside an offset, and which.
pub type Note = (i64, Arc<str>);

/// The first step of a sink.
pub struct Collector {
    alias: Arc<str>,
    class: &'static str,
    collect: Box<dyn Collect>,
    /// What stands beside the offsets that are committed.
    notes: BTreeMap<TopicPartition, Note>,
}

impl Collector {
    /// The step of a chain that makes one record of several, if there is one.
    pub fn new(specs: &[TransformSpec], context: &TransformContext) -> Result<Option<Self>> {
        let made = specs.iter().find_map(|spec| match spec.plugin {
            StepPlugin::Collect(plugin) => Some((spec, plugin)),
            _ => None,
        });
        let Some((spec, plugin)) = made else { return Ok(None) };
        let collect = (plugin.make)(spec.settings.clone(), context_of(spec, context));
        let collect = collect.map_err(|error| named(&spec.alias, error))?;
        Ok(Some(Self { alias: Arc::clone(&spec.alias), class: plugin.info.class, collect, notes: BTreeMap::new() }))
    }

    /// Partitions are the task's, with what its last owner has noted.
    pub fn assigned(&mut self, assigned: &[Assigned]) -> Result<()> {
        for Assigned { tp, committed } in assigned {
            let note = committed.as_ref().and_then(|(at, metadata)| Some((*at, intents::note(metadata)?)));
            self.notes.extend(note.map(|note| (tp.clone(), note)));
            self.begin(tp)?;
        }
        Ok(())
    }

    /// Partitions are the task's no longer.
    pub fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.collect.revoked(partitions);
        self.notes.retain(|tp, _| !partitions.contains(tp));
    }

    /// Partitions are read again from what is committed.
    pub fn sent_back(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.collect.revoked(partitions);
        partitions.iter().try_for_each(|tp| self.begin(tp))
    }

    fn begin(&mut self, tp: &TopicPartition) -> Result<()> {
        let note = self.notes.get(tp).map(|(_, note)| &**note);
        self.collect.assigned(tp, note).map_err(|error| named(&self.alias, error))
    }

    /// Keeps offsets from passing what is incomplete; answers the notes that are not those of the last time.
    pub fn cap(&mut self, safe: &mut Offsets) -> BTreeMap<TopicPartition, Note> {
        let mut fresh = BTreeMap::new();
        for (tp, offset) in safe {
            let Some((floor, note)) = self.collect.floor(tp, *offset) else {
                self.notes.remove(tp);
                continue;
            };
            *offset = floor.min(*offset);
            let note: Note = (*offset, note.into());
            if self.notes.get(tp) != Some(&note) {
                self.notes.insert(tp.clone(), note.clone());
                fresh.insert(tp.clone(), note);
            }
        }
        fresh
    }
}

impl SinkLoop {
    /// Partitions are gone, or are read again from what is committed.
    pub(in crate::task) fn uncollected(
        &mut self,
        gone: &[TopicPartition],
        sent_back: &[TopicPartition],
    ) -> Result<(), Failure> {
        let Some(collector) = &mut self.collector else { return Ok(()) };
        collector.revoked(gone);
        collector.sent_back(sent_back).map_err(|error| Failure::new("open", error))
    }

    /// A consumed record, or what it completes; none while more is missing, and when it was tolerated.
    pub(in crate::task) async fn collect(&mut self, raw: RawRecord) -> Result<Option<RawRecord>, Failure> {
        let Some(collector) = &mut self.collector else { return Ok(Some(raw)) };
        match collector.collect.collect(raw.clone()).map_err(|error| named(&collector.alias, error)) {
            Ok(complete) => Ok(complete),
            Err(error) => {
                let class = collector.class;
                self.bad(Stage::Transform, class, &raw, error).await.map(|()| None)
            }
        }
    }

    /// What will never be complete is kept and skipped, or fails the task, which then stops before it.
    pub(in crate::task) async fn give_up_overdue(&mut self) -> Result<(), Failure> {
        while let Some((class, (raw, error))) = self.next_overdue() {
            let judged = self.bad(Stage::Transform, class, &raw, error).await;
            judged.inspect_err(|_| self.progress.stop_before(&raw.tp, raw.offset))?;
        }
        Ok(())
    }

    fn next_overdue(&mut self) -> Option<(&'static str, (RawRecord, ConnectError))> {
        let collector = self.collector.as_mut()?;
        let (raw, error) = collector.collect.overdue()?;
        Some((collector.class, (raw, named(&collector.alias, error))))
    }

    /// What of these offsets may be committed, with what stands beside them.
    pub(in crate::task) fn worth_committing(&mut self, mut safe: Offsets) -> Offsets {
        let Some(collector) = &mut self.collector else { return self.progress.worth_committing(safe) };
        let fresh = collector.cap(&mut safe);
        let mut worth = self.progress.worth_committing(safe);
        // The offset stays where it is, and what stands beside it is new.
        let stays = fresh.iter().filter(|(tp, (offset, _))| self.progress.is_committed(tp, *offset));
        worth.extend(stays.map(|(tp, (offset, _))| (tp.clone(), *offset)));
        if !fresh.is_empty() {
            self.tell(ConsumerCommand::Note(fresh));
        }
        worth
    }
}
