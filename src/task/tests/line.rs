//! Records through chains with steps that wait: order, concurrency, limits, errors and ends. Time is turned by the test.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pipette_api::{OffsetShape, Partition, Position, Record, Shared, Signal, Wish};
use tokio::sync::watch;
use tokio::time::Instant;

use super::flight::{Carries, Crew, Fate, Passenger};
use super::line::Line;
use super::toys::{Seen, context, count, record, store};
use crate::budget::Share;
use crate::metrics::WorkerMetrics;
use crate::metrics::meters::{ErrorMeters, StepMeters};
use crate::task::chain::{Chain, Went};
use crate::task::guard::Guard;
use crate::task::spec::{ErrorPolicy, TransformSpec};

/// A record, and where it was read.
struct Cargo {
    record: Record,
    position: Option<Position>,
}

impl Carries for Cargo {
    fn record_at(&mut self) -> Option<(&mut Record, Option<&Position>)> {
        Some((&mut self.record, self.position.as_ref()))
    }

    fn held(&self) -> u64 {
        self.record.held()
    }
}

struct Rig {
    chain: Chain,
    line: Line<Cargo>,
    guard: Guard,
    signal: Signal,
    wish: watch::Sender<Wish>,
    seen: Arc<Seen>,
    out: Vec<String>,
    shown: StepMeters,
}

impl Rig {
    fn new(specs: &[TransformSpec], policy: ErrorPolicy) -> Self {
        let (wish, wished) = watch::channel(Wish::Run);
        let (signal, shared) = (Signal::new(wished), Shared::default());
        let context = context(signal.clone(), &shared);
        let chain = Chain::new(specs, &context).unwrap();
        let guard = Guard::new(policy, ErrorMeters::new(&WorkerMetrics::new().connector("c"), 0));
        let metrics = context.common.metrics.clone();
        let (io, crew_guard) = (context.common.io, Arc::new(guard.clone()));
        let crew = Crew {
            io,
            guard: crew_guard,
            signal: signal.clone(),
            share: Share::ample("c"),
            metrics: (metrics.clone(), 0),
        };
        let line = Line::new(&chain, &crew);
        let shown = StepMeters::new(&metrics, 0, "s");
        Self { chain, line, guard, signal, wish, seen: shared.get(), out: Vec::new(), shown }
    }

    async fn put(&mut self, text: &str) {
        self.put_at(text, None).await;
    }

    async fn put_at(&mut self, text: &str, position: Option<Position>) {
        let mut load = Cargo { record: record(text), position };
        let mut at = 0;
        let went = self.chain.apply(&mut load.record, &mut at).unwrap();
        assert_eq!(went, Went::Waits, "the chain has a step that waits");
        self.line.enter(Passenger { load, at, fate: Fate::Going });
        self.let_out().await;
        while self.line.is_full() {
            self.line.landed().await;
            self.let_out().await;
        }
    }

    async fn let_out(&mut self) {
        while let Some(passenger) = self.line.next(&mut self.chain, &self.guard, &self.signal).await {
            let text = passenger.load.record.value.value.as_str().unwrap().to_owned();
            self.out.push(match passenger.fate {
                Fate::Going => text,
                Fate::Dropped => format!("{text} dropped"),
                Fate::Failed(error) => {
                    format!("{text} failed at {}: {}", self.chain.class(passenger.at), error.chain())
                }
                Fate::Recalled => format!("{text} recalled"),
            });
        }
    }

    async fn gather(&mut self) {
        while !self.line.is_empty() {
            self.line.landed().await;
            self.let_out().await;
        }
    }
}

/// 10,000 records, three in four of which are needed, and how long they took.
async fn mixed(most: &str) -> (Rig, Duration) {
    let mut rig = Rig::new(&[store("s", &[("max.in.flight", most)])], ErrorPolicy::default());
    let began = Instant::now();
    for number in 0..10_000 {
        let kind = if number % 4 == 0 { "small" } else { "big" };
        rig.put(&format!("{kind} {number}")).await;
    }
    rig.gather().await;
    let took = began.elapsed();
    (rig, took)
}

#[tokio::test(start_paused = true)]
async fn mixed_records_leave_in_order_and_many_at_a_time() {
    let (rig, together) = mixed("16").await;
    let numbers = rig.out.iter().map(|text| text.trim_end_matches('*').rsplit(' ').next().unwrap().parse().unwrap());
    assert_eq!(numbers.collect::<Vec<usize>>(), (0..10_000).collect::<Vec<_>>());
    assert!(rig.out.iter().all(|text| text.starts_with("big") == text.ends_with('*')), "only what needs it is changed");
    assert_eq!(rig.seen.most.load(Ordering::SeqCst), 16);
    let (alone, one_by_one) = mixed("1").await;
    assert_eq!(alone.seen.most.load(Ordering::SeqCst), 1);
    assert!(together * 8 <= one_by_one, "{together:?} with 16 at a time, {one_by_one:?} one by one");
}

#[tokio::test(start_paused = true)]
async fn steps_between_see_records_in_order() {
    let specs =
        [count("a"), store("s", &[]), count("b"), store("t", &[("mark", "+"), ("max.in.flight", "3")]), count("c")];
    let mut rig = Rig::new(&specs, ErrorPolicy::default());
    for number in 0..300 {
        rig.put(if number % 3 == 0 { "small" } else { "big" }).await;
    }
    rig.gather().await;
    let expected = |number: usize| match (number - 1) % 3 {
        0 => format!("small#{number}#{number}#{number}"),
        _ => format!("big#{number}*#{number}+#{number}"),
    };
    assert_eq!(rig.out, (1..=300).map(expected).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_dropped_or_panics_keeps_its_place() {
    let mut rig = Rig::new(&[store("s", &[]), count("c")], ErrorPolicy::default());
    for text in ["big 1", "big bad", "small", "big drop", "big panic", "big 2"] {
        rig.put(text).await;
    }
    rig.gather().await;
    let expected = [
        "big 1*#1",
        "big bad failed at test.Store: transformation \"s\": it is bad",
        "small#2",
        "big drop dropped",
        "big panic failed at test.Store: transformation \"s\": the plugin panicked: a toy that panics",
        "big 2*#3",
    ];
    assert_eq!(rig.out, expected);
}

#[tokio::test(start_paused = true)]
async fn what_may_get_better_is_tried_again_while_others_go_on() {
    let policy =
        ErrorPolicy { retry_timeout: None, retry_delay_max: Duration::from_millis(50), ..ErrorPolicy::default() };
    let mut rig = Rig::new(&[store("s", &[])], policy);
    for number in 0..40 {
        rig.put(&format!("big flaky {number}")).await;
    }
    rig.gather().await;
    assert_eq!(rig.out, (0..40).map(|number| format!("big flaky {number}*")).collect::<Vec<_>>());
    assert!(rig.seen.applied.load(Ordering::SeqCst) > 80);
    rig.put("big away").await;
    rig.wish.send_replace(Wish::Stop);
    rig.gather().await;
    assert_eq!(rig.out.last().unwrap(), "big away recalled");
}

#[tokio::test(start_paused = true)]
async fn bytes_in_flight_are_limited_and_a_large_record_goes_alone() {
    let large = "x".repeat(1_000);
    let limit = (3 * (record(&large).held() + 10)).to_string();
    let mut rig = Rig::new(&[store("s", &[("max.in.flight.bytes", &limit)])], ErrorPolicy::default());
    for number in 0..50 {
        rig.put(&format!("big {number} {large}")).await;
    }
    rig.put(&format!("big {}", large.repeat(9))).await;
    rig.gather().await;
    assert_eq!((rig.out.len(), rig.seen.most.load(Ordering::SeqCst)), (51, 3));
}

#[tokio::test(start_paused = true)]
async fn records_behind_a_slow_one_are_limited() {
    let mut rig = Rig::new(&[store("s", &[])], ErrorPolicy::default());
    rig.put("big forever").await;
    let small = async {
        loop {
            rig.put("small").await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), small).await.is_err());
    assert!(rig.line.is_full() && rig.out.is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_the_end_nothing_is_left_behind() {
    let mut rig = Rig::new(&[store("s", &[]), store("t", &[])], ErrorPolicy::default());
    for _ in 0..5 {
        rig.put("big forever").await;
    }
    // So that the calls have begun.
    tokio::time::advance(Duration::from_millis(5)).await;
    assert_eq!((rig.seen.running.load(Ordering::SeqCst), rig.seen.half.lock().unwrap().len()), (5, 1));
    rig.line.end(Duration::from_secs(1)).await;
    assert_eq!(rig.seen.running.load(Ordering::SeqCst), 0, "every call is gone");
    assert!(rig.seen.half.lock().unwrap().is_empty(), "and what it had begun outside");
    assert_eq!(rig.seen.stopped.load(Ordering::SeqCst), 2, "each step is told");
    rig.let_out().await;
    assert!(rig.out.is_empty() && rig.line.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_is_in_a_step_is_shown_until_it_has_left() {
    let mut rig = Rig::new(&[store("s", &[])], ErrorPolicy::default());
    for text in ["big 1", "small 2", "big 3"] {
        rig.put(text).await;
    }
    let shown = |rig: &Rig| (rig.shown.records.get(), rig.shown.bytes.get() > 0);
    assert_eq!(shown(&rig), (3, true));
    rig.gather().await;
    assert_eq!(shown(&rig), (0, false));
    rig.put("big 4").await;
    rig.line.end(Duration::from_secs(1)).await;
    assert_eq!(shown(&rig), (0, false), "what was given up is gone");
}

#[tokio::test(start_paused = true)]
async fn a_step_learns_where_a_record_was_read_and_counts_once_however_often_it_tries() {
    let policy = ErrorPolicy { retry_timeout: None, ..ErrorPolicy::default() };
    let mut rig = Rig::new(&[store("s", &[("max.in.flight", "4")]), count("c"), store("t", &[])], policy);
    let partition = Arc::new(Partition::of("file", "a"));
    let shape = Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() });
    for number in 0..40_i64 {
        let position =
            Position { partition: Arc::clone(&partition), shape: Arc::clone(&shape), marks: [number / 2, 0] };
        rig.put_at("big flaky placed", Some(position)).await;
        rig.put("small").await;
    }
    rig.put("big placed").await;
    rig.gather().await;
    let expected = |number: usize| {
        let place = format!("@{}.{}", number / 2, number % 2);
        [format!("big flaky placed*{place}#{}*{place}", 2 * number + 1), format!("small#{}", 2 * number + 2)]
    };
    let all: Vec<String> = (0..40).flat_map(expected).chain(["big placed*@nowhere#81*@nowhere".into()]).collect();
    assert_eq!(rig.out, all);
}
