//! How messages enter a batch: each once, in order, under the number by which it is acknowledged when Kafka has what became
//! of it. `source.rs` calls it.

use std::ops::RangeInclusive;
use std::time::Instant;

use pipette_api::{Blob, Hook, SourceBatch, SourceEntry, SourceRecord};

use super::Run;
use super::handover::behind;
use crate::client::{Message, Retained};
use crate::mapping::Made;
use crate::sparkplug::Numbered;
use crate::window::{Arrived, content};

/// A batch while it is made.
#[derive(Default)]
pub(super) struct Filling {
    pub(super) entries: Vec<SourceEntry>,
    /// The numbers of the messages in it.
    numbers: Vec<RangeInclusive<u64>>,
}

impl Filling {
    fn holds(&mut self, number: u64) {
        match self.numbers.last_mut() {
            Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
            _ => self.numbers.push(number..=number),
        }
    }
}

impl Run {
    pub(super) fn enter(&mut self, message: Message, filling: &mut Filling) {
        let bytes = message.size();
        let arrival = self.window.arrived(Arrived {
            packet: message.packet,
            dup: message.dup,
            content: content(&message.topic, &message.payload),
            bytes,
        });
        self.free(arrival.freed);
        self.numbers.duplicates.count(usize::from(message.dup));
        let Some(number) = arrival.number else {
            self.numbers.known.add(1);
            return;
        };
        if self.is_skipped(&message) {
            self.numbers.skipped.add(1);
            self.settle(number..=number);
            return;
        }
        let message = Numbered { message, number, has_gap: None };
        if let Some(message) = self.mapping.waits(message, Instant::now()) {
            self.make(message, filling);
        }
        for message in self.mapping.ready() {
            self.make(message, filling);
        }
    }

    /// What has waited for its birth for too long, as it is.
    pub(super) fn overdue(&mut self) -> Option<SourceBatch> {
        let mut filling = Filling::default();
        for message in self.mapping.overdue(Instant::now()) {
            self.make(message, &mut filling);
        }
        self.filled(filling)
    }

    fn make(&mut self, message: Numbered, filling: &mut Filling) {
        let (position, number) = (Some(self.position()), message.number);
        match self.mapping.made(&message) {
            Ok(Made::One(record)) => filling.entries.push(SourceEntry::Record(SourceRecord { record, position })),
            Ok(Made::Many(records)) if records.is_empty() => return self.settle(number..=number),
            Ok(Made::Many(records)) => {
                let entry = |record| SourceEntry::Record(SourceRecord { record, position: position.clone() });
                filling.entries.extend(records.into_iter().map(entry));
            }
            Err(error) => {
                self.numbers.bad.add(1);
                let position = position.map(|position| behind(&message.message.topic, position));
                let raw = Blob::whole(message.message.payload).ok();
                filling.entries.push(SourceEntry::Bad { position, raw, error });
            }
        }
        filling.holds(number);
    }

    /// The batch; `None` when nothing of it is to be handed over.
    pub(super) fn filled(&self, filling: Filling) -> Option<SourceBatch> {
        let Filling { entries, numbers } = filling;
        if entries.is_empty() {
            return None;
        }
        let (sender, received, lag) = (self.stored.0.clone(), Instant::now(), self.numbers.lag_ms.clone());
        let acked = Hook::new(move || {
            lag.set(i64::try_from(received.elapsed().as_millis()).unwrap_or(i64::MAX));
            for numbers in numbers {
                // A task that is gone acknowledges nothing, and the broker sends everything again.
                let _ = sender.send(numbers);
            }
        });
        Some(SourceBatch { entries, acked: Some(acked), ..SourceBatch::default() })
    }

    /// A message that the broker had kept, and that is not wanted. The flag says so only when it is not as published.
    fn is_skipped(&self, message: &Message) -> bool {
        let unwanted = match self.settings.options.retained {
            Retained::Emit => false,
            Retained::Once => self.settings.is_shared(),
            Retained::Skip => true,
        };
        unwanted && message.retained
    }
}
