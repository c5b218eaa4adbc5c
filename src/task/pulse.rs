//! What a task's thread does at this moment, for the watchdog that looks on from outside.
//!
//! The loops say which call of the plugin they make. Two stores for each call and each wake-up, nothing per record.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipette_api::Outage;

use crate::kafka::contact::{Contact, Silence};

/// A call of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the methods of the traits")]
pub enum Call {
    Start,
    Poll,
    Put,
    Flush,
    Open,
    Close,
    Pause,
    Resume,
    Stop,
}

impl Call {
    const ALL: [Self; 9] = [
        Self::Start,
        Self::Poll,
        Self::Put,
        Self::Flush,
        Self::Open,
        Self::Close,
        Self::Pause,
        Self::Resume,
        Self::Stop,
    ];

    /// The method's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Poll => "poll",
            Self::Put => "put",
            Self::Flush => "flush",
            Self::Open => "open",
            Self::Close => "close",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }
}

/// What it is inside of when it makes no call: steps of the chain, converters, hooks.
const BETWEEN: &str = "transformations and converters";
/// No time: milliseconds begin with 1.
const NEVER: u64 = 0;

/// One start of a task, as it can be seen from outside.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    /// The call under way, by its place in `Call::ALL` and one more.
    call: AtomicU8,
    /// Since when; both in milliseconds after `born`.
    call_since: AtomicU64,
    /// Since when the thread is inside of the loop or the plugin without having waited for anything.
    busy_since: AtomicU64,
    contacts: Mutex<Vec<Arc<Contact>>>,
    /// What Kafka refuses to do for the loop, since when, and why.
    refused: Mutex<Option<(&'static str, Instant, String)>>,
    unflushed: Outage,
    away: Outage,
    outside: Outage,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            call: AtomicU8::new(0),
            call_since: AtomicU64::new(NEVER),
            busy_since: AtomicU64::new(NEVER),
            contacts: Mutex::default(),
            refused: Mutex::default(),
            unflushed: Outage::default(),
            away: Outage::default(),
            outside: Outage::default(),
        }
    }
}

/// A thread that does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Inside of what.
    pub inside: &'static str,
    /// For how long.
    pub time: Duration,
}

impl Pulse {
    /// Makes a call of the plugin.
    pub async fn during<T>(&self, call: Call, work: impl Future<Output = T>) -> T {
        let _called = Called::begin(self, call);
        work.await
    }

    /// Runs the whole task: its thread is busy whenever this is polled.
    pub async fn of_thread<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.busy_since.store(self.now(), Ordering::Relaxed);
            let polled = work.as_mut().poll(context);
            self.busy_since.store(NEVER, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Watches this client's contact with Kafka as well.
    pub fn attach(&self, contact: &Arc<Contact>) {
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(contact));
    }

    /// Inside of what the thread is for longer than `limit`. A `poll` may wait for data as long as it likes, as long as
    /// the thread is free meanwhile.
    pub fn stuck(&self, limit: Duration) -> Option<Stuck> {
        let call = usize::from(self.call.load(Ordering::Relaxed)).checked_sub(1).and_then(|at| Call::ALL.get(at));
        let calling = call.filter(|call| **call != Call::Poll).and_then(|_| self.since(&self.call_since));
        let time = calling.into_iter().chain(self.since(&self.busy_since)).max()?;
        (time > limit).then(|| Stuck { inside: call.map_or(BETWEEN, |call| call.name()), time })
    }

    /// For how long its consumer group keeps it waiting, and how long it may.
    pub fn joins(&self) -> Option<(Duration, Duration)> {
        let contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.iter().find_map(|contact| contact.joins())
    }

    /// What Kafka does not answer.
    pub fn silence(&self) -> Option<Silence> {
        let contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.iter().find_map(|contact| contact.silence()).or_else(|| {
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let (what, since, cause) = refused.as_ref()?;
            Some(Silence { what, time: since.elapsed(), cause: Some(cause.clone()) })
        })
    }

    /// The loop waits for this, and Kafka says why it does not come.
    pub fn refused(&self, what: &'static str, cause: String) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let since = refused.as_ref().map_or_else(Instant::now, |(_, since, _)| *since);
        *refused = Some((what, since, cause));
    }

    /// What it waited for has come.
    pub fn granted(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Flushes of the sink.
    pub fn flushes(&self) -> &Outage {
        &self.unflushed
    }

    /// The calls that reach the source or the sink itself, when trying again may help.
    pub fn contact(&self) -> &Outage {
        &self.away
    }

    /// What steps of the chain wait for.
    pub fn outside(&self) -> &Outage {
        &self.outside
    }

    fn since(&self, at: &AtomicU64) -> Option<Duration> {
        let at = at.load(Ordering::Relaxed);
        (at != NEVER).then(|| Duration::from_millis(self.now().saturating_sub(at)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// A call under way; over when it is dropped, however it ends.
struct Called<'a>(&'a Pulse);

impl<'a> Called<'a> {
    fn begin(pulse: &'a Pulse, call: Call) -> Self {
        pulse.call_since.store(pulse.now(), Ordering::Relaxed);
        pulse.call.store(call as u8 + 1, Ordering::Relaxed);
        Self(pulse)
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        self.0.call.store(0, Ordering::Relaxed);
        self.0.call_since.store(NEVER, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_lasts_is_seen_and_a_poll_may_wait() {
        let pulse = Pulse::default();
        let inside = |pulse: &Pulse| pulse.stuck(Duration::ZERO).map(|stuck| stuck.inside);
        // As if it had begun earlier.
        let lasts = |pulse: &Pulse| pulse.call_since.store(1, Ordering::Relaxed);
        std::thread::park_timeout(Duration::from_millis(3));
        assert_eq!(inside(&pulse), None);
        pulse
            .during(Call::Put, async {
                lasts(&pulse);
                assert_eq!(inside(&pulse), Some("put"));
                assert_eq!(pulse.stuck(Duration::from_mins(1)), None);
            })
            .await;
        assert_eq!(inside(&pulse), None, "it moves again");
        pulse
            .during(Call::Poll, async {
                lasts(&pulse);
                assert_eq!(inside(&pulse), None, "it waits for data");
                pulse.busy_since.store(1, Ordering::Relaxed);
                assert_eq!(inside(&pulse), Some("poll"), "it blocks its thread");
            })
            .await;
        assert_eq!(inside(&pulse), Some(BETWEEN));
        for (at, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, at);
        }
    }
}
