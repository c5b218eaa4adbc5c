//! Looks at all tasks from a thread of its own, twice a second: is one stuck inside of its plugin, does Kafka not answer it,
//! does its group keep it waiting, can its sink not flush, is its source, its sink or what
//! its steps wait for away?
//!
//! `thread.rs` shows it each task; what it finds goes to the herder as news, to the log and into a metric. It asks nobody
//! and waits for nobody.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use pipette_api::{Metric, Metrics};

use super::pulse::Pulse;
use super::thread::Reporter;
use crate::metrics::table;
use crate::settings::secrets::Secrets;
use pipette_java::calendar::utc;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What keeps a task that has not failed from its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Its thread does not come back.
    Hung {
        /// From where.
        inside: &'static str,
        /// When it went in.
        since: SystemTime,
    },
    /// Kafka does not answer it.
    Silence {
        /// What does not come.
        what: &'static str,
        /// When it should have begun to come.
        since: SystemTime,
        /// Why, once that is known.
        cause: Option<Arc<str>>,
    },
    /// Its consumer group keeps it waiting.
    Joins {
        /// Since when.
        since: SystemTime,
        /// How long that may be.
        longest: Duration,
    },
    /// Its source cannot be read, its sink not be written to, or what a step waits for does not answer; all are tried
    /// again.
    Away {
        /// When the first of these attempts failed.
        since: SystemTime,
        /// Why the last one did.
        cause: Arc<str>,
    },
    /// Its sink cannot flush.
    Flush {
        /// When the first of these flushes failed.
        since: SystemTime,
        /// Why the last one did.
        cause: Arc<str>,
    },
}

impl Trouble {
    fn is_silence(&self) -> bool {
        matches!(self, Self::Silence { .. })
    }

    fn is_hung(&self) -> bool {
        matches!(self, Self::Hung { .. })
    }

    /// Puts placeholders in the place of what they stand for.
    pub fn hide(&mut self, secrets: &Secrets) {
        match self {
            Self::Silence { cause: Some(cause), .. } | Self::Away { cause, .. } | Self::Flush { cause, .. } => {
                secrets.hide_in_shared(cause);
            }
            Self::Silence { cause: None, .. } | Self::Hung { .. } | Self::Joins { .. } => {}
        }
    }
}

/// The watchdog of a worker; cheap to clone. Its thread ends with the last of these.
#[derive(Clone)]
pub struct Watchdog(Arc<Tasks>);

struct Tasks {
    /// How long a plugin may keep the thread.
    limit: Duration,
    watched: Mutex<Vec<Watched>>,
}

struct Watched {
    pulse: Weak<Pulse>,
    reporter: Reporter,
    trouble: Option<Trouble>,
    hung: Metric,
    silent: Metric,
}

impl Watchdog {
    /// Starts the thread. A plugin that keeps a task's thread longer than `limit` is reported as hung; never with a limit
    /// of zero.
    pub fn start(limit: Duration) -> Self {
        let tasks = Arc::new(Tasks { limit, watched: Mutex::default() });
        let seen = Arc::downgrade(&tasks);
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            while let Some(tasks) = seen.upgrade() {
                tasks.look();
                drop(tasks);
                std::thread::park_timeout(LOOK);
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "No thread for the watchdog: tasks that hang are not reported");
        }
        Self(tasks)
    }

    /// Watches one start of a task until its pulse is gone.
    pub(super) fn watch(&self, pulse: &Arc<Pulse>, reporter: Reporter, metrics: &Metrics) {
        let number = |row: &'static table::Row| {
            let metric = metrics.register(&row.info, &[&reporter.id().task.to_string()]);
            metric.set(0);
            metric
        };
        let (hung, silent) = (number(&table::TASK_HUNG), number(&table::TASK_SILENT));
        let watched = Watched { pulse: Arc::downgrade(pulse), reporter, trouble: None, hung, silent };
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }
}

impl Tasks {
    fn look(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain_mut(|watched| watched.look(self.limit));
    }
}

impl Watched {
    /// False when the task has ended.
    fn look(&mut self, limit: Duration) -> bool {
        let Some(pulse) = self.pulse.upgrade() else {
            self.show(None);
            return false;
        };
        let trouble = self.found(&pulse, limit);
        if trouble != self.trouble {
            self.log(trouble.as_ref());
            self.show(trouble.as_ref());
            self.reporter.trouble(trouble.clone());
            self.trouble = trouble;
        }
        true
    }

    /// What is wrong. The beginning of what was wrong before does not waver by the time it takes to look.
    fn found(&self, pulse: &Pulse, limit: Duration) -> Option<Trouble> {
        let before = |time: Duration| SystemTime::now().checked_sub(time).unwrap_or(SystemTime::UNIX_EPOCH);
        let steady = |time: Duration, known: Option<SystemTime>| {
            known.filter(|since| is_near(*since, before(time))).unwrap_or_else(|| before(time))
        };
        if let Some(stuck) = pulse.stuck(limit).filter(|_| !limit.is_zero()) {
            let known = match &self.trouble {
                Some(Trouble::Hung { inside, since }) if *inside == stuck.inside => Some(*since),
                _ => None,
            };
            return Some(Trouble::Hung { inside: stuck.inside, since: steady(stuck.time, known) });
        }
        if let Some((time, longest)) = pulse.joins() {
            let known = if let Some(Trouble::Joins { since, .. }) = &self.trouble { Some(*since) } else { None };
            return Some(Trouble::Joins { since: steady(time, known), longest });
        }
        if let Some(silence) = pulse.silence() {
            let known = match &self.trouble {
                Some(Trouble::Silence { since, cause, .. }) if is_near(*since, before(silence.time)) => {
                    Some((*since, cause))
                }
                _ => None,
            };
            let cause = silence.cause.map(Arc::from).or_else(|| known.and_then(|(_, cause)| cause.clone()));
            let since = known.map_or_else(|| before(silence.time), |(since, _)| since);
            return Some(Trouble::Silence { what: silence.what, since, cause });
        }
        if let Some((time, cause)) = pulse.flushes().look() {
            let known = if let Some(Trouble::Flush { since, .. }) = &self.trouble { Some(*since) } else { None };
            return Some(Trouble::Flush { since: steady(time, known), cause: cause.into() });
        }
        let (time, cause) = pulse.contact().look().or_else(|| pulse.outside().look())?;
        let known = if let Some(Trouble::Away { since, .. }) = &self.trouble { Some(*since) } else { None };
        Some(Trouble::Away { since: steady(time, known), cause: cause.into() })
    }

    fn log(&self, now: Option<&Trouble>) {
        let id = self.reporter.id();
        let (connector, task) = (&*id.connector, id.task);
        match (&self.trouble, now) {
            (_, Some(Trouble::Hung { inside, since })) => {
                let since = utc(*since);
                tracing::error!(%connector, task, stage = %inside, %since, "Task hangs: its plugin does not return");
            }
            (Some(Trouble::Hung { inside, .. }), _) => {
                tracing::info!(%connector, task, stage = %inside, "Task no longer hangs");
            }
            _ => {}
        }
        if let (Some(Trouble::Joins { longest, .. }), false) =
            (now, matches!(self.trouble, Some(Trouble::Joins { .. })))
        {
            let seconds = longest.as_secs();
            tracing::info!(%connector, task, seconds, "Waiting for the consumer group: a member that is gone still counts");
        }
        let told = |trouble: Option<&Trouble>| match trouble {
            Some(Trouble::Silence { cause, .. }) => Some(cause.is_some()),
            _ => None,
        };
        match (told(self.trouble.as_ref()), now) {
            // Said again once the cause is known, not whenever its words change.
            (None | Some(false), Some(Trouble::Silence { what, since, cause })) => {
                let (since, cause) = (utc(*since), cause.as_deref().unwrap_or("not known yet"));
                tracing::warn!(%connector, task, missing = %what, %since, %cause, "Kafka does not answer; waiting");
            }
            (Some(_), None) => tracing::info!(%connector, task, "Kafka answers again"),
            _ => {}
        }
    }

    fn show(&self, trouble: Option<&Trouble>) {
        self.hung.set(i64::from(trouble.is_some_and(Trouble::is_hung)));
        self.silent.set(i64::from(trouble.is_some_and(Trouble::is_silence)));
    }
}

fn is_near(one: SystemTime, other: SystemTime) -> bool {
    let apart = one.duration_since(other).or_else(|_| other.duration_since(one));
    apart.is_ok_and(|apart| apart < LOOK * 2)
}

#[cfg(test)]
mod tests {
    use pipette_api::TaskId;
    use tokio::sync::mpsc;

    use super::super::TaskNews;
    use super::super::pulse::Call;
    use super::*;
    use crate::metrics::WorkerMetrics;

    #[tokio::test]
    async fn a_limit_of_zero_calls_nothing_hung() {
        for (limit, told) in [(0, false), (1, true)] {
            let tasks = Arc::new(Tasks { limit: Duration::from_millis(limit), watched: Mutex::default() });
            let (reports, mut heard) = mpsc::unbounded_channel();
            let reporter = Reporter::new(TaskId { connector: "c".into(), task: 0 }, 1, reports);
            let pulse = Arc::new(Pulse::default());
            Watchdog(Arc::clone(&tasks)).watch(&pulse, reporter, &WorkerMetrics::new().connector("c"));
            let put = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                tasks.look();
            };
            pulse.during(Call::Put, put).await;
            let news = heard.try_recv().map(|report| report.news);
            let is_hung = matches!(news, Ok(TaskNews::Trouble(Some(Trouble::Hung { inside: "put", .. }))));
            assert_eq!((is_hung, heard.is_empty()), (told, true), "{limit}");
        }
    }
}
