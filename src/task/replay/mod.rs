//! Dead letters of a sink on their way back: read from their topic, through converters and chain as they are now, into an
//! instance of the sink of its own.
//!
//! A job on its own thread, started by `herder/replays.rs`; tasks go on beside it. It reads up to where the topic ends
//! when it begins, so that letters which fail again do not come round. Those are lost in no case: a replay that goes on
//! where the last one ended writes them to the topic anew before it passes them, any other leaves them where they are.

mod letter;
pub mod report;
mod target;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pipette_api::{
    ConnectError, Context, Outage, RawRecord, Result, Room, SinkRecord, TransformContext, Verdict, Wish,
};

use self::report::{Bound, Line, Outcome, Refusal, SharedReport, State, Wanted};
use self::target::{Again, Put, Target};
use super::chain::Chain;
use super::codec::Codec;
use super::dead_letters::{Blame, DeadLetters};
use super::spec::{Role, TaskSpec};
use super::thread::panic_text;
use crate::kafka::consumer::size;
use crate::kafka::properties::ClientProperties;
use crate::kafka::stretch::{Start, Stretch};
use crate::metrics::meters::ErrorMeters;

/// Letters between two flushes.
const ROUND: usize = 100;
/// Bytes of letters between two flushes that should not be exceeded: those of a round are in memory together.
const ROUND_BYTES: usize = 1 << 20;
/// How long letters that failed again may take to be in Kafka.
const KEPT: Duration = Duration::from_secs(30);

/// Everything a replay runs with.
pub struct Replay {
    /// A task of the sink, dead letters included.
    pub spec: TaskSpec,
    /// The consumer of the dead letter topic; its group remembers how far letters were replayed.
    pub reader: ClientProperties,
    /// Which letters.
    pub wanted: Wanted,
    /// What the sink is given; its signal stops the replay.
    pub common: Context,
    /// Where it tells how it is.
    pub report: SharedReport,
}

/// Starts it; returns at once.
pub fn spawn(replay: Replay) {
    let (report, name) = (replay.report.clone(), replay.spec.id.connector.to_string());
    let told = report.clone();
    let thread = std::thread::Builder::new().name(format!("replay {name}")).spawn(move || {
        let span = tracing::error_span!("replay", connector = %name);
        let _entered = span.enter();
        let state = match std::panic::catch_unwind(AssertUnwindSafe(|| run(&replay))) {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => State::Failed(error.chain()),
            Err(panic) => State::Failed(format!("the plugin panicked: {}", panic_text(&*panic))),
        };
        tracing::info!(?state, "Replay of dead letters ended");
        told.lock().state = state;
    });
    if let Err(error) = thread {
        report.lock().state = State::Failed(format!("Cannot start a thread for the replay: {error}"));
    }
}

fn run(replay: &Replay) -> Result<State> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ConnectError::fatal("Cannot start a runtime").because(error))?;
    let ended = runtime.block_on(async {
        let mut hand = Hand::new(replay).await?;
        let ended = hand.every_round(replay).await;
        for (_, later) in hand.chain.laters() {
            later.transform.stop().await;
        }
        let closed = match hand.target.take() {
            Some(target) => target.end().await,
            None => Ok(()),
        };
        ended.and_then(|state| closed.map(|()| state))
    });
    runtime.shutdown_background();
    ended
}

/// What letters go through.
struct Hand {
    letters: Stretch,
    codec: Codec,
    chain: Chain,
    /// None on a dry run.
    target: Option<Target>,
    /// Takes what fails again; none when letters stay where they are.
    anew: Option<DeadLetters>,
    looked_at: usize,
}

/// A letter in the round under way.
struct Turn {
    letter: (i32, i64),
    record: Option<RawRecord>,
    fate: Fate,
}

enum Fate {
    Known(Outcome),
    /// The sink took it; known when it was flushed.
    Put(Put),
}

impl Hand {
    async fn new(replay: &Replay) -> Result<Self> {
        let Replay { spec, wanted, common, .. } = replay;
        let (Role::Sink { plugin, .. }, Some(dead)) = (&spec.role, &spec.dead_letters) else {
            unreachable!("looked at by whoever starts a replay")
        };
        let start = match wanted.from {
            Some(Bound::Offset(offset)) => Start::At(offset),
            Some(Bound::Time(_)) => Start::Oldest,
            None => Start::Remembered,
        };
        let letters = Stretch::open(&replay.reader, &dead.topic.name, start)?;
        let (room, outage) = (Room::default(), Outage::default());
        let context = TransformContext { common: common.clone(), id: spec.id.clone(), room, outage };
        let (codec, chain) = (Codec::new(&spec.converters)?, Chain::new(&spec.transforms, &context)?);
        let (mut target, mut anew) = (None, None);
        if !wanted.dry_run {
            let task = (plugin.task)(spec.settings.clone())?;
            target = Some(Target::start(task, common.clone(), spec.id.clone()).await?);
            if wanted.from.is_none() {
                let mut dead = dead.clone();
                // Without its headers nobody could put it back.
                dead.topic.context = Some(true);
                let signal = common.signal.clone();
                anew = Some(DeadLetters::new(dead, spec.id.clone(), signal, &ErrorMeters::default()));
            }
        }
        Ok(Self { letters, codec, chain, target, anew, looked_at: 0 })
    }

    async fn every_round(&mut self, replay: &Replay) -> Result<State> {
        loop {
            let mut turns = Vec::new();
            let played = self.play_round(replay, &mut turns).await;
            // What the sink took before it failed is told, and passed, all the same.
            self.settle(replay, turns).await?;
            if let Some(state) = played? {
                return Ok(state);
            }
        }
    }

    /// Plays letters until the round is full. The state is the end.
    async fn play_round(&mut self, replay: &Replay, turns: &mut Vec<Turn>) -> Result<Option<State>> {
        let mut bytes = 0;
        while turns.len() < ROUND && bytes < ROUND_BYTES {
            if replay.common.signal.wish() == Wish::Stop {
                return Ok(Some(State::Stopped));
            }
            if self.looked_at == replay.wanted.max {
                return Ok(Some(State::Done));
            }
            let Some(letter) = self.letters.read()? else { return Ok(Some(State::Done)) };
            if replay.wanted.from.is_some_and(|from| from.is_behind(&letter))
                || replay.wanted.to.is_some_and(|to| !to.is_behind(&letter))
            {
                continue;
            }
            self.looked_at += 1;
            bytes += size(&letter);
            let at = (letter.tp.partition, letter.offset);
            let (record, fate) = match letter::unsealed(&letter, &replay.spec.id.connector) {
                Err(reason) => (None, Fate::Known(Outcome::Skipped(reason))),
                Ok(record) => (Some(record.clone()), self.play(replay, record).await?),
            };
            turns.push(Turn { letter: at, record, fate });
        }
        Ok(None)
    }

    /// One record through converters and chain, and into the sink.
    async fn play(&mut self, replay: &Replay, origin: RawRecord) -> Result<Fate> {
        let failed = |stage, class, error| Ok(Fate::Known(Outcome::Failed(Refusal { stage, class, error })));
        let mut record = match self.codec.decode(&origin) {
            Ok(record) => record,
            Err((stage, error)) => return failed(stage, self.codec.class(stage), error),
        };
        let (mut at, mut again) = (0, Again::new(&replay.common.signal));
        loop {
            match self.chain.apply_waiting(&mut record, &mut at).await {
                Ok(Verdict::Keep) => break,
                Ok(Verdict::Drop) => return Ok(Fate::Known(Outcome::Filtered)),
                Err(error) => {
                    let stage = self.chain.stage(at);
                    match again.after(error).await {
                        Err(error) if stage.blames_the_record(&error) => {
                            return failed(stage, self.chain.class(at), error);
                        }
                        outcome => outcome?,
                    }
                }
            }
        }
        Ok(match &mut self.target {
            None => Fate::Known(Outcome::Ready),
            Some(target) => match target.put(SinkRecord { record, origin }).await? {
                Ok(put) => Fate::Put(put),
                Err(outcome) => Fate::Known(outcome),
            },
        })
    }

    /// Flushes the sink, keeps what failed again, and tells what became of each letter.
    async fn settle(&mut self, replay: &Replay, turns: Vec<Turn>) -> Result<()> {
        let flushed = match &mut self.target {
            Some(target) => target.flush().await,
            None => Ok(pipette_api::Offsets::new()),
        };
        let nothing = pipette_api::Offsets::new();
        let safe = flushed.as_ref().unwrap_or(&nothing);
        let (mut next, mut lines, mut records) = (BTreeMap::new(), Vec::new(), Vec::new());
        for Turn { letter, record, fate } in turns {
            let outcome = match (fate, &mut self.target) {
                (Fate::Known(outcome), _) => outcome,
                (Fate::Put(put), Some(target)) => target.outcome(&put, safe),
                (Fate::Put(_), None) => unreachable!("there is no sink to put to"),
            };
            next.insert(letter.0, letter.1 + 1);
            let place = record.as_ref().map(|record| (record.tp.clone(), record.offset));
            lines.push(Line { letter, record: place, outcome });
            records.push(record);
        }
        let kept = match &flushed {
            Ok(_) => self.keep(&lines, &records, &next).await,
            Err(_) => Ok(()),
        };
        let settled = flushed.map(drop).and(kept);
        let mut report = replay.report.lock();
        report.lines.append(&mut lines);
        if settled.is_ok() {
            report.next.extend(next);
        }
        drop(report);
        settled
    }

    /// What failed again is in the topic anew before the letters are passed.
    async fn keep(&mut self, lines: &[Line], records: &[Option<RawRecord>], next: &BTreeMap<i32, i64>) -> Result<()> {
        let Some(anew) = self.anew.as_mut().filter(|_| !next.is_empty()) else { return Ok(()) };
        for ((line, record), number) in lines.iter().zip(records).zip(0..) {
            if let (Outcome::Failed(Refusal { stage, class, error }), Some(record)) = (&line.outcome, record)
                && !anew.send_consumed(record, &Blame { stage: *stage, class, error }, number).await?
            {
                return Ok(());
            }
        }
        anew.settle(KEPT).await;
        if let Some(refused) = anew.take().failed.into_iter().next() {
            return Err(refused.error);
        }
        if anew.in_flight() > 0 {
            return Err(ConnectError::retriable("Letters that failed again are not in Kafka yet; replay them again"));
        }
        self.letters.remember(next)
    }
}
