//! Transformations that wait for something outside: as ones that compute for the laws of those, and their own law.

use std::future::poll_fn;
use std::task::Poll;

use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{AsyncTransform, AsyncTransformPlugin, Plugin, Record, Result, Settings, Transform, Verdict};

use super::{Case, Cases};
use crate::bench::Bench;

/// How often a call is polled at most before it is dropped.
const POLLS: usize = 24;

/// Each call is waited for.
pub(super) struct Waited {
    bench: Bench,
    transform: Box<dyn AsyncTransform>,
}

impl Waited {
    pub(super) fn new(plugin: &AsyncTransformPlugin, settings: Settings) -> Result<Self> {
        // The worker reads them: a definition without them would fail every task.
        settings.get(&MAX_IN_FLIGHT)?;
        settings.get(&MAX_IN_FLIGHT_BYTES)?;
        let bench = Bench::new()?;
        let context = bench.transform();
        // Whoever makes a client needs the runtime it will run on.
        let transform = bench.run("making it", async { (plugin.make)(settings, context) })??;
        Ok(Self { bench, transform })
    }
}

impl Transform for Waited {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        if !self.transform.needs(record) {
            return Ok(Verdict::Keep);
        }
        self.bench.run("apply", self.transform.apply(record))?
    }
}

/// T8: a call that is dropped, at whichever await, leaves nothing half done outside once the transformation was stopped.
/// `left` tells what is half done there after a case: open uploads, parts, temporary files.
pub fn t8_a_cancelled_apply_leaves_nothing(cases: &Cases, left: impl Fn(&Case) -> Vec<String>) {
    for case in &cases.cases {
        let Plugin::AsyncTransform(plugin) = cases.plugin(case) else { continue };
        for polls in 0..POLLS {
            let settings = Settings::new(case.config.clone(), plugin.info.config);
            let Ok(Waited { bench, transform }) = Waited::new(plugin, settings) else { break };
            let mut record = case.input.clone();
            let ended = bench.run("a call that is dropped, and the stop", async {
                let ended = transform.needs(&record) && begun(&*transform, &mut record, polls).await;
                transform.stop().await;
                ended
            });
            let ended = ended.unwrap_or_else(|error| panic!("T8: {}: {error}", case.name));
            let left = left(case);
            assert!(left.is_empty(), "T8: {}: dropped after {polls} polls, it left {left:?}", case.name);
            if ended {
                break;
            }
        }
    }
}

/// Polls a call so often and drops it; true when it has ended before.
async fn begun(transform: &dyn AsyncTransform, record: &mut Record, polls: usize) -> bool {
    let mut call = transform.apply(record);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use pipette_api::{ConfigDef, ConnectError, Direction, Info, async_trait};

    use super::super::{t2_golden_cases, t3_error_leaves_the_record_unchanged, t7_drop_is_drop};
    use super::*;

    static CONFIG: ConfigDef = ConfigDef::new(&[&MAX_IN_FLIGHT.info, &MAX_IN_FLIGHT_BYTES.info]);
    static HALF: AtomicBool = AtomicBool::new(false);

    /// Uploads in two steps.
    struct Upload {
        cleans: bool,
        spoils: bool,
    }

    #[async_trait]
    impl AsyncTransform for Upload {
        fn needs(&self, record: &Record) -> bool {
            !record.value.is_null()
        }

        async fn apply(&self, record: &mut Record) -> Result<Verdict> {
            tokio::task::yield_now().await;
            if self.spoils {
                record.timestamp = Some(7);
                return Err(ConnectError::data("too late"));
            }
            HALF.store(true, Ordering::SeqCst);
            tokio::task::yield_now().await;
            HALF.store(false, Ordering::SeqCst);
            Ok(Verdict::Keep)
        }

        async fn stop(&self) {
            if self.cleans {
                HALF.store(false, Ordering::SeqCst);
            }
        }
    }

    macro_rules! cases {
        ($cleans:expr, $spoils:expr) => {{
            static PLUGINS: [Plugin; 1] = [Plugin::AsyncTransform(AsyncTransformPlugin {
                info: Info { class: "Toy", aliases: &[], version: "1", about: "", readme: "", config: &CONFIG },
                direction: Direction::Either,
                metrics: &[],
                make: |_, _| Ok(Box::new(Upload { cleans: $cleans, spoils: $spoils })),
            })];
            Cases::parse(
                &PLUGINS,
                r#"[{"name": "one", "plugin": "Toy", "config": {}, "input": {"value": {"value": 1}},
                "output": {}}]"#,
            )
        }};
    }

    fn left(_: &Case) -> Vec<String> {
        HALF.swap(false, Ordering::SeqCst).then(|| "half an upload".to_owned()).into_iter().collect()
    }

    #[test]
    fn one_that_cleans_passes_and_one_that_does_not_is_caught() {
        let good = cases!(true, false);
        t2_golden_cases(&good);
        t3_error_leaves_the_record_unchanged(&good);
        t7_drop_is_drop(&good);
        t8_a_cancelled_apply_leaves_nothing(&good, left);
        let caught = std::panic::catch_unwind(|| t8_a_cancelled_apply_leaves_nothing(&cases!(false, false), left));
        let told = caught.unwrap_err().downcast::<String>().unwrap();
        assert!(told.contains("dropped after 2 polls, it left [\"half an upload\"]"), "{told}");
    }

    #[test]
    #[should_panic(expected = "T3: text: one: too late")]
    fn t3_holds_for_those_that_wait() {
        t3_error_leaves_the_record_unchanged(&cases!(true, true));
    }
}
