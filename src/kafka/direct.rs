//! Which partitions of a consumer are read straight from their leaders (`fetch/`), and the way there and back.
//!
//! librdkafka begins with every partition: it knows where, and what to do about all that can be wrong. When batch after batch
//! comes full, the partitions in it are paused there and read here. They go back, with the offset that is next, when
//! `fetch/` says so, when they are paused, and when the group or the sink sends them elsewhere; after trouble they stay
//! away from here for a while. Called by `consumer.rs` and `conversation.rs`, on the consumer's thread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pipette_api::{ConnectError, Offsets, RawRecord, Result, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};

use super::conversation::list;
use super::fetch::{Address, Fetcher, Returned};
use super::positions::seek;
use super::properties::ClientProperties;
use super::traffic::Beside;
use crate::settings::fetch::DirectFetch;

/// Full batches in a row after which speed matters.
const BUSY: u32 = 4;
/// How long librdkafka may take to say who leads a partition that it has just read, and how long all of that may take.
const LEADER: Duration = Duration::from_secs(1);
/// How long a partition stays with librdkafka after trouble: from the first time on, and at most.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_mins(1);
/// The wait for records that are read here while librdkafka may have some as well.
const SHORT: Duration = Duration::from_millis(2);

/// What was read directly.
#[derive(Default)]
pub(super) struct Brought {
    pub records: Vec<RawRecord>,
    /// Where partitions are whose last offsets hold no record.
    pub ends: Offsets,
    /// Partitions that are librdkafka's again.
    pub returned: Vec<TopicPartition>,
}

/// What is read directly, and what may be.
pub(super) struct Direct {
    /// `None`: these settings want something that only librdkafka does.
    fetcher: Option<Fetcher>,
    /// Whether a batch need not be full.
    always: bool,
    /// Full batches that librdkafka has brought in a row.
    full: u32,
    resting: BTreeMap<TopicPartition, Rest>,
    /// Who is looked at first alternates.
    turn: bool,
}

/// After trouble.
struct Rest {
    until: Instant,
    time: Duration,
}

impl Direct {
    /// Of a consumer with these properties.
    pub(super) fn new(properties: &ClientProperties, wanted: DirectFetch) -> Self {
        let fetcher = match wanted {
            DirectFetch::Never => None,
            DirectFetch::Auto | DirectFetch::Always => Fetcher::new(properties),
        };
        Self { fetcher, always: wanted == DirectFetch::Always, full: 0, resting: BTreeMap::new(), turn: false }
    }

    /// Whether anything is read here.
    pub(super) fn is_at_work(&self) -> bool {
        self.fetcher.as_ref().is_some_and(|fetcher| fetcher.count() > 0)
    }

    /// Whether librdkafka is to be looked at before the records here.
    pub(super) fn client_is_first(&mut self) -> bool {
        self.turn = !self.turn;
        self.turn
    }

    /// Whether this partition is read here.
    pub(super) fn holds(&self, tp: &TopicPartition) -> bool {
        self.fetcher.as_ref().is_some_and(|fetcher| fetcher.holds(tp))
    }

    /// What statistics of librdkafka do not say.
    pub(super) fn beside(&self) -> Beside {
        let Some(fetcher) = &self.fetcher else { return Beside::nothing() };
        let [received, sent, connections] = fetcher.traffic().map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        Beside { received, sent, connections, lag: fetcher.lag().unwrap_or(-1), partitions: fetcher.partitions() }
    }

    /// A batch of what is read here; waits for its first record only, and shortly when some of the `owned` partitions may
    /// come through librdkafka. Goes back to librdkafka with what cannot be read here any longer.
    pub(super) fn read<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        (limit, room): (usize, usize),
        wait: Duration,
        owned: usize,
    ) -> Result<Brought> {
        let Some(fetcher) = &mut self.fetcher else { return Ok(Brought::default()) };
        let wait = if fetcher.count() < owned { wait.min(SHORT) } else { wait };
        let records = fetcher.read(limit, room, wait);
        let (ends, returned) = (fetcher.ends(), fetcher.returned());
        self.give_back(consumer, &returned)?;
        Ok(Brought { records, ends, returned: returned.into_iter().map(|returned| returned.tp).collect() })
    }

    /// librdkafka has brought a batch, a full one or not. What it holds may be read here from now on.
    pub(super) fn consider<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        records: &[RawRecord],
        full: bool,
    ) {
        self.full = if full { self.full + 1 } else { 0 };
        let Some(fetcher) = self.fetcher.as_mut().filter(|_| self.always || self.full >= BUSY) else { return };
        let now = Instant::now();
        let mut next = Offsets::new();
        // A batch has runs of partitions: the name is compared with that of the record before.
        for run in records.chunk_by(|a, b| a.tp == b.tp) {
            if let Some(last) = run.last()
                && self.resting.get(&last.tp).is_none_or(|rest| rest.until <= now)
            {
                next.insert(last.tp.clone(), last.offset + 1);
            }
        }
        let mut known = None;
        for (tp, offset) in next {
            if now.elapsed() >= LEADER {
                // The group and the sink wait for this thread. The next batch brings the others up again.
                break;
            }
            let taken = leader(consumer, &mut known, &tp).and_then(|leader| fetcher.take(tp.clone(), offset, leader));
            match taken {
                Ok(()) => {
                    let _ = consumer.pause(&list(std::slice::from_ref(&tp)));
                    tracing::debug!(partition = %tp, offset, "Read from its leader directly");
                }
                Err(trouble) => {
                    tracing::debug!(partition = %tp, trouble, "Cannot be read from its leader directly");
                    rest(&mut self.resting, &tp);
                }
            }
        }
    }

    /// These go elsewhere: nobody reads on where they are here.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.resting.retain(|tp, _| !partitions.contains(tp));
        if let Some(fetcher) = &mut self.fetcher {
            fetcher.release(|tp| partitions.contains(tp));
        }
    }

    /// These are librdkafka's again, at the offset that is next; they stay paused there until somebody resumes them.
    pub(super) fn hand_back<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        wanted: impl Fn(&TopicPartition) -> bool,
    ) -> Result<()> {
        let Some(fetcher) = &mut self.fetcher else { return Ok(()) };
        let released = fetcher.release(wanted);
        self.give_back(consumer, &released)
    }

    fn give_back<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, returned: &[Returned]) -> Result<()> {
        if returned.is_empty() {
            return Ok(());
        }
        let places = returned.iter().map(|returned| (&returned.tp, returned.next, returned.epoch));
        seek(consumer, places).map_err(|error| {
            // Reading on would leave a gap behind the sink's back.
            ConnectError::fatal(format!("Cannot go on reading behind what was read from a partition's leader: {error}"))
        })?;
        for Returned { tp, next, trouble, .. } in returned {
            tracing::debug!(partition = %tp, offset = next, trouble, "Read through librdkafka again");
            if trouble.is_some() {
                rest(&mut self.resting, tp);
            }
        }
        self.full = 0;
        Ok(())
    }
}

/// After trouble: twice as long as after the last, unless that is long ago.
fn rest(resting: &mut BTreeMap<TopicPartition, Rest>, tp: &TopicPartition) {
    let now = Instant::now();
    let last = resting.get(tp).filter(|rest| rest.until + LONGEST_REST > now);
    let time = last.map_or(REST, |rest| (rest.time * 2).min(LONGEST_REST));
    resting.insert(tp.clone(), Rest { until: now + time, time });
}

/// Who leads a partition; all partitions of one topic are asked about at once, and `known` is what was said last.
fn leader<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    known: &mut Option<Metadata>,
    tp: &TopicPartition,
) -> Result<Address, String> {
    let is_of_it = |known: &Metadata| known.topics().iter().any(|topic| topic.name() == &*tp.topic);
    let known = match known.take_if(|known| is_of_it(known)) {
        Some(same) => known.insert(same),
        None => known.insert(consumer.fetch_metadata(Some(&tp.topic), LEADER).map_err(|error| error.to_string())?),
    };
    let mut partitions = known.topics().iter().flat_map(MetadataTopic::partitions);
    let leader = partitions.find(|partition| partition.id() == tp.partition).map(MetadataPartition::leader);
    let broker = known.brokers().iter().find(|broker| Some(broker.id()) == leader).ok_or("it has no leader")?;
    let port = u16::try_from(broker.port()).map_err(|_| format!("port {}", broker.port()))?;
    Ok((broker.host().to_owned(), port))
}

#[cfg(test)]
mod tests {
    use pipette_broker::{Broker, BrokerConfig};
    use rdkafka::ClientConfig;

    use super::*;

    #[test]
    fn who_leads_the_partitions_of_a_topic_is_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::on_any_port(folder.path().join("broker"));
        config.default_partitions = 3;
        let broker = Broker::start(config).unwrap();
        let port = broker.address().port();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.address().to_string()).set("group.id", "g");
        config.set("allow.auto.create.topics", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let of = |known: &mut Option<Metadata>, topic, partition| {
            leader(&consumer, known, &TopicPartition::new(topic, partition))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while of(&mut None, "t", 2).is_err() {
            assert!(Instant::now() < deadline, "the topic is made");
        }
        let mut known = None;
        of(&mut known, "t", 0).unwrap();
        drop(broker);
        // Nobody answers any more.
        assert_eq!(of(&mut known, "t", 2).unwrap().1, port);
        assert!(of(&mut known, "t", 7).is_err(), "there is none");
        assert!(of(&mut known, "other", 0).is_err(), "another topic is another question");
    }
}
