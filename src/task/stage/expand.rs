//! The last step of a source when it makes several records of one: pieces are pulled one by one and sent, and the source's
//! position goes with the last of them.

use std::collections::HashSet;
use std::sync::Arc;

use pipette_api::{
    Blob, Body, ConnectError, EncodedRecord, ErrorKind, Expand, Position, Record, Result, TransformContext, Value, Wish,
};

use crate::kafka::producer::Outgoing;
use crate::task::chain::{When, context_of, named};
use crate::task::deliver::PAYLOAD_ATTEMPTS;
use crate::task::guard::Stage;
use crate::task::ledger::Mark;
use crate::task::outbox::Unsent;
use crate::task::patience;
use crate::task::raw_input::Input;
use crate::task::report::{Failure, Place};
use crate::task::source::SourceLoop;
use crate::task::spec::{StepPlugin, TransformSpec};

/// The converter that hands bytes on as they are: a payload need not be read before it.
const BYTES_AS_THEY_ARE: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

/// The last step of a source.
pub struct Expander {
    alias: Arc<str>,
    class: &'static str,
    expand: Box<dyn Expand>,
    when: Option<When>,
    /// Topics whose pieces are all kept.
    suited: HashSet<Arc<str>>,
}

impl Expander {
    /// The step of a chain that makes several records of one, if there is one.
    pub fn new(specs: &[TransformSpec], context: &TransformContext) -> Result<Option<Self>> {
        let made = specs.iter().find_map(|spec| match spec.plugin {
            StepPlugin::Expand(plugin) => Some((spec, plugin)),
            _ => None,
        });
        let Some((spec, plugin)) = made else { return Ok(None) };
        let expand = (plugin.make)(spec.settings.clone(), context_of(spec, context));
        let expand = expand.map_err(|error| named(&spec.alias, error))?;
        let (alias, class, when) = (Arc::clone(&spec.alias), plugin.info.class, When::new(spec)?);
        Ok(Some(Self { alias, class, expand, when, suited: HashSet::new() }))
    }
}

impl SourceLoop {
    /// A record for a topic that is there, in pieces if it needs to be.
    pub(in crate::task) async fn expand(
        &mut self,
        batch: u64,
        mut record: Record,
        position: Option<Position>,
    ) -> Result<(), Unsent> {
        let Some(expander) = &self.expander else { unreachable!("looked at by the caller") };
        if !When::admits(expander.when.as_ref(), &record) {
            return self.deliver_whole(batch, record, position).await;
        }
        let mut payload = None;
        if let Value::Payload(value) = &record.value.value
            && self.codec.class(Stage::ValueConverter) == BYTES_AS_THEY_ARE
            && expander.expand.needs(&record.topic, value.len())
        {
            payload = Some(Arc::clone(value));
            // Its bytes are read piece by piece, not by the converter.
            record.value.value = Value::Null;
        }
        if let Err(error) = self.read_payloads(&mut record, position.as_ref()).await? {
            let bad = (Stage::ValueConverter, self.codec.class(Stage::ValueConverter), error);
            return self.bad(batch, position.into(), bad, &Input::Record(&record)).await;
        }
        let outgoing = match self.codec.encode(&record) {
            Ok(outgoing) => outgoing,
            Err((stage, error)) => {
                let bad = (stage, self.codec.class(stage), error);
                return self.bad(batch, position.into(), bad, &Input::Record(&record)).await;
            }
        };
        let size = outgoing.value.map(|value| value.len() as u64);
        if payload.is_none() && size.is_none_or(|size| !expander.expand.needs(&record.topic, Some(size))) {
            self.batch_bytes += outgoing.size();
            return self.outbox.send(batch, position.into(), &outgoing, &self.guard).await;
        }
        let whole = owned(&record.topic, &outgoing, payload.map(Body::Payload));
        match whole {
            Ok(whole) => self.pieces(batch, whole, position).await,
            Err(error) => {
                let bad = (Stage::ValueConverter, self.codec.class(Stage::ValueConverter), error);
                self.bad(batch, position.into(), bad, &Input::Record(&record)).await
            }
        }
    }

    /// Ends the task when the topic would forget pieces.
    async fn hold_topic(&mut self, topic: &Arc<str>) -> Result<(), Unsent> {
        let Some(expander) = &mut self.expander else { unreachable!("looked at by the caller") };
        if expander.expand.takes_compacted() || expander.suited.contains(topic) {
            return Ok(());
        }
        let mut attempt = 1;
        let policy = loop {
            match self.topics.setting(topic, "cleanup.policy").await {
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    let what = "The topic's cleanup.policy cannot be asked for yet; trying again";
                    patience::rest(&self.signal, &error, attempt, what).await;
                    attempt += 1;
                }
                answer => break answer.map_err(|error| Failure::new("transformation", error))?,
            }
            if self.signal.wish() == Wish::Stop {
                return Err(Unsent::Recalled);
            }
        };
        if let Some(policy) = policy.filter(|policy| policy.contains("compact")) {
            let error = ConnectError::config(format!(
                "Topic {topic} has cleanup.policy={policy}, which keeps only the last piece of a large value: send such \
                 values to another topic, change the policy to delete, or set allow.compacted=true"
            ));
            return Err(Failure::new("transformation", named(&expander.alias, error)).into());
        }
        expander.suited.insert(Arc::clone(topic));
        Ok(())
    }

    /// Sends piece by piece. Law 1: what follows in the source's partition waits for each of them.
    async fn pieces(&mut self, batch: u64, whole: EncodedRecord, position: Option<Position>) -> Result<(), Unsent> {
        self.hold_topic(&whole.topic).await?;
        let Some(expander) = &mut self.expander else { unreachable!("looked at by the caller") };
        let begun = expander.expand.begin(whole.clone(), position.as_ref());
        let begun = begun.map_err(|error| named(&expander.alias, error));
        let mut last = match begun {
            Ok(()) => None,
            Err(error) => return self.unexpanded(batch, &whole, position, error).await,
        };
        // Pieces are in memory one at a time, unless the whole is.
        let before = self.batch_bytes;
        let mut most = before + whole.value.as_ref().map_or(0, in_memory);
        loop {
            match self.piece(&whole, position.as_ref()).await? {
                Err(error) => return self.unexpanded(batch, &whole, position, error).await,
                Ok(Some(piece)) => {
                    if let Some(earlier) = last.replace(piece) {
                        let part = position.as_ref().map(|position| Mark::Part(Arc::clone(&position.partition)));
                        self.encoded(batch, &earlier, part.unwrap_or(Mark::None)).await?;
                        most = most.max(std::mem::replace(&mut self.batch_bytes, before));
                        self.outbox.take_deliveries(&self.guard).await?;
                    }
                }
                Ok(None) => break,
            }
            // Pieces of a local file come without a wait, and whoever looks on would think that the thread hangs.
            tokio::task::yield_now().await;
        }
        match last {
            Some(piece) => self.encoded(batch, &piece, position.into()).await?,
            None => self.outbox.settled(batch, position.into()),
        }
        self.batch_bytes = most.max(self.batch_bytes);
        Ok(())
    }

    /// The next piece, asked for again while what it is read from is away; when that lasts, the task ends.
    async fn piece(
        &mut self,
        whole: &EncodedRecord,
        position: Option<&Position>,
    ) -> Result<Result<Option<EncodedRecord>, ConnectError>, Unsent> {
        let Some(expander) = &mut self.expander else { unreachable!("looked at by the caller") };
        let mut attempt = 1;
        loop {
            if self.signal.wish() == Wish::Stop {
                return Err(Unsent::Recalled);
            }
            match expander.expand.next().await.map_err(|error| named(&expander.alias, error)) {
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    if attempt == PAYLOAD_ATTEMPTS {
                        let from = position.map(|position| Arc::clone(&position.partition));
                        let place = Place::Source { topic: Some(Arc::clone(&whole.topic)), from };
                        return Err(Failure::at(Stage::Transform, place, error).into());
                    }
                    patience::rest(&self.signal, &error, attempt, "A piece cannot be read for now; trying again").await;
                    attempt += 1;
                }
                outcome => return Ok(outcome),
            }
        }
    }

    async fn unexpanded(
        &mut self,
        batch: u64,
        whole: &EncodedRecord,
        position: Option<Position>,
        error: ConnectError,
    ) -> Result<(), Unsent> {
        let class = self.expander.as_ref().map_or("", |expander| expander.class);
        self.bad(batch, position.into(), (Stage::Transform, class, error), &Input::Encoded(whole)).await
    }
}

fn in_memory(body: &Body) -> u64 {
    match body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::Payload(_) => 0,
    }
}

/// A record of its own, with another value if there is one.
fn owned(topic: &Arc<str>, record: &Outgoing<'_>, value: Option<Body>) -> Result<EncodedRecord> {
    let blob = |bytes: Option<&[u8]>| bytes.map(|bytes| Blob::whole(bytes.to_vec())).transpose();
    Ok(EncodedRecord {
        topic: Arc::clone(topic),
        partition: record.partition,
        key: blob(record.key)?,
        value: match value {
            Some(value) => Some(value),
            None => blob(record.value)?.map(Body::Bytes),
        },
        headers: record.headers.clone(),
        timestamp: record.timestamp,
    })
}
