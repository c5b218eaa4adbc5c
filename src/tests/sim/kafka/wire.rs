//! The two ends of the model that the worker holds: a producer's wire, and the rows of the offsets topic. A part of
//! `kafka.rs`.

use super::*;

pub(super) struct ModelWire {
    pub(super) cluster: Cluster,
    pub(super) client: usize,
    pub(super) deliveries: Arc<Deliveries>,
}

impl Drop for ModelWire {
    fn drop(&mut self) {
        self.cluster.lock().leave(self.client);
    }
}

/// What a call of a transaction leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Works,
    /// It worked, and the caller is told to ask again.
    AnswerIsLost,
    TakesTooLong,
    Fails,
}

impl ModelWire {
    fn call(&self) -> (Call, Duration) {
        let mut kafka = self.cluster.lock();
        let call = match kafka.dice.below(100) {
            _ if kafka.calm => Call::Works,
            0..=9 => Call::AnswerIsLost,
            10..=24 => Call::TakesTooLong,
            25..=29 => Call::Fails,
            _ => Call::Works,
        };
        (call, Duration::from_millis(kafka.dice.below(30)))
    }

    fn not_fenced(&self) -> Result<()> {
        self.fatal().map_or(Ok(()), Err)
    }

    /// False when a record is not taken: then nothing is committed.
    fn commit(&self) -> bool {
        let mut kafka = self.cluster.lock();
        kafka.flush(self.client);
        if kafka.clients[self.client].denied {
            kafka.end_transaction(self.client, false);
            return false;
        }
        // The places of rows may come late, or never.
        let late = !kafka.calm && kafka.dice.percent(10);
        for (client, lane) in kafka.lanes(|_, lane| !lane.unacked.is_empty()) {
            while client == self.client
                && kafka.clients[client].lanes[&lane]
                    .unacked
                    .front()
                    .is_some_and(|ack| !(late && matches!(ack, Ack::Row(..))))
            {
                kafka.acknowledge(client, &lane);
            }
        }
        if late && let Some(lane) = kafka.clients[self.client].lanes.get_mut(OFFSETS.as_bytes()) {
            lane.unacked.clear();
        }
        kafka.end_transaction(self.client, true);
        true
    }
}

#[async_trait]
impl Wire for ModelWire {
    fn nudge(&self) {
        self.cluster.lock().clients[self.client].nudged = true;
    }

    fn send(&self, record: &Outgoing<'_>, number: u64) -> Result<Sent> {
        self.not_fenced()?;
        let mut kafka = self.cluster.lock();
        let capacity = kafka.capacity;
        let client = &mut kafka.clients[self.client];
        assert!(client.in_transaction || !client.transactional, "a record outside of a transaction");
        if record.topic != LETTERS && ends_with(record.value, HUGE) {
            return Err(ConnectError::data("far too large"));
        }
        let under_way: usize = client.lanes.values().map(|lane| lane.waiting.len() + lane.unacked.len()).sum();
        if under_way >= capacity {
            return Ok(Sent::Full);
        }
        let lane = if record.topic == OFFSETS { OFFSETS.as_bytes() } else { record.key.unwrap_or_default() };
        client.lanes.entry(lane.to_vec()).or_default().waiting.push_back(Waiting {
            number,
            topic: record.topic.to_owned(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
        });
        Ok(Sent::Queued)
    }

    fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    fn fatal(&self) -> Option<ConnectError> {
        self.cluster.lock().clients[self.client].fenced.then(|| ConnectError::fatal("fenced"))
    }

    async fn init_transactions(&self) -> Result<()> {
        let (call, time) = self.call();
        tokio::time::sleep(time).await;
        self.not_fenced()?;
        if call == Call::TakesTooLong {
            return Err(ConnectError::retriable("try again"));
        }
        let mut kafka = self.cluster.lock();
        let others = |(at, client): &(usize, &Client)| *at != self.client && client.transactional && !client.fenced;
        let others: Vec<_> = kafka.clients.iter().enumerate().filter(others).map(|(at, _)| at).collect();
        for other in others {
            kafka.end_transaction(other, false);
            kafka.clients[other].fenced = true;
        }
        if call == Call::AnswerIsLost { Err(ConnectError::retriable("no answer")) } else { Ok(()) }
    }

    fn begin_transaction(&self) -> Result<()> {
        self.not_fenced()?;
        let mut kafka = self.cluster.lock();
        let client = &mut kafka.clients[self.client];
        assert!(!client.in_transaction, "a transaction in a transaction");
        client.in_transaction = true;
        Ok(())
    }

    async fn commit_transaction(&self) -> Result<()> {
        let (call, time) = self.call();
        let before = self.cluster.lock().dice.percent(50);
        if !before {
            tokio::time::sleep(time).await;
        }
        self.not_fenced()?;
        let known = !self.cluster.lock().clients[self.client].in_transaction;
        let works = known || matches!(call, Call::Works | Call::AnswerIsLost) && self.commit();
        if !works && call != Call::TakesTooLong {
            self.cluster.lock().end_transaction(self.client, false);
        }
        if before {
            tokio::time::sleep(time).await;
        }
        match call {
            Call::Works | Call::AnswerIsLost if !works => Err(ConnectError::fatal("a record is not allowed")),
            _ if known => Ok(()),
            Call::Works => Ok(()),
            Call::AnswerIsLost | Call::TakesTooLong => Err(ConnectError::retriable("no answer")),
            Call::Fails => Err(ConnectError::fatal("the transaction failed")),
        }
    }

    async fn abort_transaction(&self) -> Result<()> {
        let (call, time) = self.call();
        tokio::time::sleep(time).await;
        self.not_fenced()?;
        if matches!(call, Call::TakesTooLong | Call::Fails) {
            return Err(ConnectError::fatal("the transaction is not aborted"));
        }
        let mut kafka = self.cluster.lock();
        kafka.clients[self.client].lanes.clear();
        kafka.end_transaction(self.client, false);
        Ok(())
    }
}

/// The offsets topic as the worker reads it.
pub(in super::super) struct ModelRows(pub(in super::super) Cluster);

#[async_trait]
impl Rows for ModelRows {
    fn name(&self) -> &str {
        OFFSETS
    }

    async fn ensure(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn read(&self, mut each: EachRow) -> Result<()> {
        let kafka = self.0.lock();
        kafka.rows().for_each(|(place, key, value)| each(place, key, value));
        Ok(())
    }

    async fn write(&self, _: Vec<&Row>) -> Result<Vec<Place>> {
        unreachable!("offsets are written inside of transactions here")
    }
}
