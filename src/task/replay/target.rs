//! The sink of a replay: an instance of its own, beside the tasks that run. It is given one letter at a time, so that
//! each has its own outcome, and flushed once a round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{
    Assigned, ConnectError, Context, ErrorKind, Offsets, Result, Signal, SinkBatch, SinkContext, SinkRecord,
    SinkRuntime, SinkTask, TaskId, TopicPartition, Wish, async_trait,
};
use tokio::sync::mpsc;

use super::report::{Outcome, Refusal};
use crate::task::guard::Stage;
use crate::task::patience;
use crate::task::sink::SINK_TASK;

/// How long a target that is away is tried again before the replay gives up.
const AWAY: Duration = Duration::from_secs(30);

/// A record that was reported as bad.
struct Report {
    batch: Arc<SinkBatch>,
    error: ConnectError,
}

/// What a sink may ask of a replay: nothing but to report. It reads no partition and has no offsets to commit.
struct Door(mpsc::UnboundedSender<Report>);

#[async_trait]
impl SinkRuntime for Door {
    fn report(&self, batch: &Arc<SinkBatch>, _index: usize, error: ConnectError) {
        // A replay that has ended wrote its report without it.
        let _ = self.0.send(Report { batch: Arc::clone(batch), error });
    }

    async fn commit(&self, _tp: &TopicPartition, _offset: i64, _intent: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn request_flush(&self) {}

    fn pause(&self, _partitions: &[TopicPartition]) {}

    fn resume(&self, _partitions: &[TopicPartition]) {}
}

/// A letter that the sink took.
pub(super) struct Put {
    batch: Arc<SinkBatch>,
}

/// The sink at work.
pub(super) struct Target {
    task: Box<dyn SinkTask>,
    signal: Signal,
    reports: mpsc::UnboundedReceiver<Report>,
    reported: Vec<Report>,
    /// Partitions that were opened, and where the sink wants to go on by positions of its own.
    opened: Vec<(TopicPartition, Option<i64>)>,
    /// Behind the last record of each partition.
    reached: Offsets,
}

impl Target {
    /// Starts the sink.
    pub(super) async fn start(mut task: Box<dyn SinkTask>, common: Context, id: TaskId) -> Result<Self> {
        let (sender, reports) = mpsc::unbounded_channel();
        let signal = common.signal.clone();
        let context = SinkContext { common, id, runtime: Arc::new(Door(sender)) };
        let mut again = Again::new(&signal);
        while let Err(error) = task.start(context.clone()).await {
            again.after(error).await?;
        }
        Ok(Self { task, signal, reports, reported: Vec::new(), opened: Vec::new(), reached: Offsets::new() })
    }

    /// Puts one letter. The error ends the replay: it is not the letter's own.
    pub(super) async fn put(&mut self, record: SinkRecord) -> Result<std::result::Result<Put, Outcome>> {
        let (tp, offset) = (record.origin.tp.clone(), record.origin.offset);
        if let Some(own) = self.open(&tp).await?.filter(|own| offset < *own) {
            return Ok(Err(Outcome::Skipped(format!(
                "the sink keeps positions of its own and takes nothing before offset {own} of {tp}"
            ))));
        }
        let batch = Arc::new(SinkBatch { records: vec![record] });
        let mut again = Again::new(&self.signal);
        loop {
            match self.task.put(Arc::clone(&batch)).await {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::Retriable => again.after(error).await?,
                Err(error) if Stage::Put.blames_the_record(&error) => return Ok(Err(refused(error))),
                Err(error) => return Err(error.within(format!("the record of {tp} at offset {offset}"))),
            }
        }
        let reached = self.reached.entry(tp).or_default();
        *reached = (*reached).max(offset + 1);
        Ok(Ok(Put { batch }))
    }

    async fn open(&mut self, tp: &TopicPartition) -> Result<Option<i64>> {
        if let Some((_, own)) = self.opened.iter().find(|(opened, _)| opened == tp) {
            return Ok(*own);
        }
        let seeks = self.task.open(&[Assigned { tp: tp.clone(), committed: None }]).await?;
        let own = seeks.get(tp).copied();
        self.opened.push((tp.clone(), own));
        Ok(own)
    }

    /// Makes durable what was put; answers what is.
    pub(super) async fn flush(&mut self) -> Result<Offsets> {
        if self.reached.is_empty() {
            return Ok(Offsets::new());
        }
        let mut again = Again::new(&self.signal);
        let safe = loop {
            match self.task.flush(&self.reached).await {
                Ok(safe) => break safe,
                Err(error) if error.kind() == ErrorKind::Retriable => again.after(error).await?,
                Err(error) => return Err(error),
            }
        };
        while let Ok(report) = self.reports.try_recv() {
            self.reported.push(report);
        }
        Ok(safe)
    }

    /// What became of a letter, once it was flushed.
    pub(super) fn outcome(&mut self, put: &Put, safe: &Offsets) -> Outcome {
        let reported = self.reported.iter().position(|report| Arc::ptr_eq(&report.batch, &put.batch));
        if let Some(index) = reported {
            return refused(self.reported.swap_remove(index).error);
        }
        let origin = &put.batch.records[0].origin;
        match safe.get(&origin.tp) {
            Some(safe) if origin.offset < *safe => Outcome::Replayed,
            _ => refused(ConnectError::data("the sink took it and did not make it durable when it was flushed")),
        }
    }

    /// Closes and stops the sink.
    pub(super) async fn end(mut self) -> Result<()> {
        let opened: Vec<TopicPartition> = self.opened.into_iter().map(|(tp, _)| tp).collect();
        let closed = if opened.is_empty() { Ok(()) } else { self.task.close(&opened).await };
        closed.and(self.task.stop().await)
    }
}

fn refused(error: ConnectError) -> Outcome {
    Outcome::Failed(Refusal { stage: Stage::Put, class: SINK_TASK, error })
}

/// Tries of one call.
pub(super) struct Again<'a> {
    signal: &'a Signal,
    began: Instant,
    attempt: u32,
}

impl<'a> Again<'a> {
    pub(super) fn new(signal: &'a Signal) -> Self {
        Self { signal, began: Instant::now(), attempt: 0 }
    }

    /// Waits before the next try; the error comes back when there is to be none.
    pub(super) async fn after(&mut self, error: ConnectError) -> Result<()> {
        if error.kind() != ErrorKind::Retriable || self.signal.wish() == Wish::Stop || self.began.elapsed() > AWAY {
            return Err(error);
        }
        self.attempt += 1;
        patience::rest(self.signal, &error, self.attempt, "The replay of dead letters waits; trying again").await;
        Ok(())
    }
}
