//! The messages that are received and not acknowledged: which are in Kafka, which may be acknowledged now, and which came
//! before.
//!
//! Pure. MQTT wants acknowledgements in the order in which messages were received on this connection (MQTT-4.6.0-2), and
//! Kafka may confirm batches late: only the settled front of the window is acknowledged. After a reconnect a broker sends
//! again what was not acknowledged. Such a message is known by its packet id, as long as no acknowledgement of it was
//! ever handed to a connection; the DUP flag alone says nothing. Read next: `source.rs`.

use std::collections::{HashMap, VecDeque};

use crate::budget::Held;
use crate::client::{Packet, Qos};

/// What the window answers to an arrival.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The number of a message to hand over; `None` when it is on its way to Kafka, or there already.
    pub(crate) number: Option<u64>,
    /// Memory that nothing will ask for any more.
    pub(crate) freed: Held,
}

/// A message as the window needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) packet: Packet,
    pub(crate) dup: bool,
    /// A hash of topic and payload: a guard against a broker that used the packet id for another message meanwhile.
    pub(crate) content: u64,
    pub(crate) bytes: usize,
}

/// What may be done once messages are in Kafka.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Acknowledgements to send, in this order.
    pub(crate) acks: Vec<Packet>,
    /// Memory that is free again.
    pub(crate) freed: Held,
}

/// See the head of this module.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// In the order of receipt on this connection.
    line: VecDeque<Slot>,
    /// The place in the line that has left it so far.
    left: u64,
    /// Where in the line a message that is not in Kafka stands, counted from the first of this connection.
    places: HashMap<u64, u64>,
    /// Messages of earlier connections that the broker will send again, by packet id.
    earlier: HashMap<u16, Earlier>,
    /// Packet ids of those of them that are not in Kafka.
    earlier_ids: HashMap<u64, u16>,
    next: u64,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    packet: Packet,
    content: u64,
    bytes: usize,
    settled: bool,
}

#[derive(Debug)]
struct Earlier {
    number: u64,
    qos: Qos,
    content: u64,
    bytes: usize,
    settled: bool,
}

impl Window {
    /// How many messages wait for Kafka or for their turn.
    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    /// How many messages have been new so far.
    pub(crate) fn received(&self) -> u64 {
        self.next
    }

    /// A message arrived on this connection.
    pub(crate) fn arrived(&mut self, message: Arrived) -> Arrival {
        let Arrived { packet, dup, content, bytes } = message;
        let mut freed = Held::default();
        if packet.qos != Qos::AtMostOnce
            && let Some(earlier) = self.earlier.remove(&packet.id)
        {
            self.earlier_ids.remove(&earlier.number);
            if dup && earlier.qos == packet.qos && earlier.content == content {
                let Earlier { number, bytes: held, settled, .. } = earlier;
                self.stand(Slot { number, packet, content, bytes: held, settled });
                return Arrival { number: None, freed: one(bytes) };
            }
            freed += one(earlier.bytes);
        }
        let number = self.next;
        self.next += 1;
        self.stand(Slot { number, packet, content, bytes, settled: false });
        Arrival { number: Some(number), freed }
    }

    fn stand(&mut self, slot: Slot) {
        if !slot.settled {
            self.places.insert(slot.number, self.left + self.line.len() as u64);
        }
        self.line.push_back(slot);
    }

    /// Messages of these numbers are in Kafka, filtered or tolerated.
    pub(crate) fn settled(&mut self, numbers: std::ops::RangeInclusive<u64>) -> Settled {
        let mut settled = Settled::default();
        for number in numbers {
            if let Some(place) = self.places.remove(&number) {
                let index = usize::try_from(place - self.left).unwrap_or(usize::MAX);
                if let Some(slot) = self.line.get_mut(index) {
                    slot.settled = true;
                }
            } else if let Some(id) = self.earlier_ids.remove(&number)
                && let Some(earlier) = self.earlier.get_mut(&id)
            {
                earlier.settled = true;
                settled.freed += one(std::mem::take(&mut earlier.bytes));
            }
        }
        self.advance(&mut settled);
        settled
    }

    /// Lets the settled front go.
    fn advance(&mut self, settled: &mut Settled) {
        while self.line.front().is_some_and(|slot| slot.settled) {
            let Some(slot) = self.line.pop_front() else { break };
            self.left += 1;
            settled.freed += one(slot.bytes);
            if slot.packet.qos != Qos::AtMostOnce {
                settled.acks.push(slot.packet);
            }
        }
    }

    /// Acknowledgements that became possible because a message that came again is in Kafka already.
    pub(crate) fn ready(&mut self) -> Settled {
        let mut settled = Settled::default();
        self.advance(&mut settled);
        settled
    }

    /// The connection is over: what is not acknowledged becomes what an earlier connection brought. What comes of the
    /// answers that Kafka still owes is kept, so that memory is given back.
    pub(crate) fn disconnected(&mut self) -> Held {
        let mut freed = Held::default();
        self.left += self.line.len() as u64;
        self.places.clear();
        for Slot { number, packet, content, bytes, settled } in self.line.drain(..) {
            if packet.qos == Qos::AtMostOnce {
                // It cannot come again, so that its memory need not wait for Kafka's answer.
                freed += one(bytes);
                continue;
            }
            if settled {
                freed += one(bytes);
            } else {
                self.earlier_ids.insert(number, packet.id);
            }
            let bytes = if settled { 0 } else { bytes };
            self.earlier.insert(packet.id, Earlier { number, qos: packet.qos, content, bytes, settled });
        }
        freed
    }

    /// The broker has lost the session: packet ids begin anew and nothing comes again. The memory is given back.
    pub(crate) fn forgotten(&mut self) -> Held {
        let mut freed = Held::default();
        self.earlier_ids.clear();
        for (_, earlier) in self.earlier.drain() {
            freed += one(earlier.bytes);
        }
        freed
    }
}

/// The content of a message in a number, eight bytes at a time: it is looked at for each message.
pub(crate) fn content(topic: &[u8], payload: &[u8]) -> u64 {
    [topic, payload].iter().fold(0, |hash, part| {
        let (chunks, rest) = part.as_chunks::<8>();
        let add = |hash: u64, number: u64| (hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
        let hash =
            chunks.iter().fold(add(hash, part.len() as u64), |hash, chunk| add(hash, u64::from_le_bytes(*chunk)));
        rest.iter().fold(hash, |hash, byte| add(hash, u64::from(*byte)))
    })
}

/// The memory of one message; none is left of one that was settled while the connection was away.
fn one(bytes: usize) -> Held {
    Held { bytes, records: usize::from(bytes > 0) }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
