//! Filters that move from one task to another, and tasks that go: nothing may come while nobody is subscribed.
//!
//! A broker keeps what comes for sessions that are subscribed at that moment, and nobody tells one task's session when the
//! other's stands. So whoever takes a filter over subscribes first, and whoever gives it up waits a little. What comes in
//! between may come by both. `source.rs` calls it.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{OffsetMap, OffsetShape, Position, Primitive, Result, SourceBatch, SourceEntry};
use tokio::time::{Instant, sleep_until};

use super::{FILTERS, MARKS, Run, SESSION, TOPIC};
use crate::budget::Held;
use crate::client::Event;

/// How long a filter that is not subscribed any more still is: another task, which may start a little later, takes it over.
const GRACE: Duration = Duration::from_secs(3);

impl Run {
    /// When filters of an earlier configuration are given up; `None` when the broker has none.
    pub(super) fn grace(&self, session_present: bool) -> Option<Instant> {
        (session_present && !self.outdated.is_empty()).then(|| Instant::now() + GRACE)
    }

    /// Subscribes and leaves again. From now on the broker keeps what comes for this session, also under filters that those
    /// of tasks which are gone had, while they are emptied. What came meanwhile is not acknowledged, and comes again.
    pub(super) async fn keep_a_place(&mut self) -> Result<()> {
        if self.settings.clean || !self.connect().await? {
            return Ok(());
        }
        let signal = self.context.common.signal.clone();
        loop {
            if let Some(Err(fault)) = self.next.take() {
                return Err(self.lost(&fault));
            }
            let Some(link) = &mut self.session.link else { return Ok(()) };
            let event = tokio::select! {
                event = link.next() => event,
                () = signal.recalled() => return Ok(()),
            };
            match event {
                Ok(Event::Subscribed(granted)) => {
                    self.subscribed(&granted)?;
                    self.leave().await;
                    return Ok(());
                }
                Ok(Event::Message(message)) => self.free(Held { bytes: message.size(), records: 1 }),
                Ok(Event::Unsubscribed) => {}
                Err(fault) => return Err(self.lost(&fault)),
            }
        }
    }

    /// What is not subscribed any more; whoever took a filter over has had the time to subscribe to it.
    pub(super) fn unsubscribe(&mut self) -> SourceBatch {
        self.outdated_until = None;
        let Some(link) = &self.session.link else { return SourceBatch::empty() };
        if let Err(fault) = link.unsubscribe(&self.outdated) {
            self.next.get_or_insert(Err(fault));
            return SourceBatch::empty();
        }
        self.outdated.clear();
        let session = self.shape.fixed.get(SESSION).and_then(Primitive::as_text).unwrap_or_default().to_owned();
        let filters: Vec<String> = self.settings.subscribed().into_iter().map(|asked| asked.filter).collect();
        self.shape = shape(&session, filters.iter());
        if self.drain.is_some() {
            SourceBatch::empty()
        } else {
            SourceBatch::of(vec![SourceEntry::Position(self.position())])
        }
    }
}

/// What the offset says besides its marks: which session it is, and every filter that the broker may have for it.
pub(super) fn shape<'a>(session: &str, filters: impl Iterator<Item = &'a String>) -> Arc<OffsetShape> {
    let filters = filters.map(String::as_str).collect::<Vec<_>>().join(",");
    let fixed = OffsetMap::from([
        (Arc::from(SESSION), Primitive::from(session)),
        (Arc::from(FILTERS), Primitive::from(filters)),
    ]);
    Arc::new(OffsetShape { fixed, marks: MARKS })
}

/// The position behind a bad message, which says on which topic it was.
pub(super) fn behind(topic: &[u8], position: Position) -> Position {
    let mut fixed = position.shape.fixed.clone();
    fixed.insert(Arc::from(TOPIC), Primitive::from(String::from_utf8_lossy(topic).into_owned()));
    Position { shape: Arc::new(OffsetShape { fixed, marks: MARKS }), ..position }
}

/// Resolves at that moment; never without one.
pub(super) async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
