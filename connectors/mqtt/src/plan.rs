//! The planning halves: which task subscribes to what under which client id, and the live look at validate.
//!
//! A filter finds its task by its own hash, so that adding or removing one moves no other. Read next: `source.rs`.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::config::ConfigMap;
use pipette_api::plugin::BoxFuture;
use pipette_api::{
    ConnectError, Connector, ConnectorContext, OffsetMap, OffsetReader, Partition, Result, Settings, async_trait,
};

use crate::budget::{Budget, Held, Overflow};
use crate::client::{self, Dial, Fault, FaultKind, Version};
use crate::config::{CLIENT_ID, DRAINED, PASSWORD, SERVER, TOPICS, VALIDATE_CONNECT, VERSION};
use crate::filter::Subscription;
use crate::settings::{BrokerSettings, SinkSettings, SourceSettings};

/// How long the live look at a broker may take.
const LOOK: Duration = Duration::from_secs(5);

/// Plans the source.
pub(crate) struct SourceConnector {
    settings: SourceSettings,
    name: Arc<str>,
    offsets: Option<Arc<dyn OffsetReader>>,
}

impl SourceConnector {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { settings: SourceSettings::read(settings)?, name: Arc::from(""), offsets: None })
    }

    /// Client ids under which sessions were opened at this broker, and which no task of the plan has.
    async fn left_behind(&self, planned: &[ConfigMap]) -> Result<Vec<String>> {
        let Some(offsets) = self.offsets.as_ref().filter(|_| !self.settings.drain_idle.is_zero()) else {
            return Ok(Vec::new());
        };
        let broker = self.settings.broker.servers.first().map(ToString::to_string).unwrap_or_default();
        let has_task = |id: &str| planned.iter().any(|task| task.get(CLIENT_ID.info.name).is_some_and(|own| own == id));
        let text = |partition: &Partition, name: &str| {
            partition.0.get(name).and_then(|part| part.as_text().map(str::to_owned))
        };
        let known = offsets.scan().await?.into_iter();
        let here = known.filter(|(partition, _)| text(partition, "broker").as_deref() == Some(broker.as_str()));
        Ok(here.filter_map(|(partition, _)| text(&partition, "client_id")).filter(|id| !has_task(id)).collect())
    }

    fn planned(&self, max: usize) -> Vec<ConfigMap> {
        let task = |number: usize, subscriptions: &[&Subscription]| {
            let filters: Vec<String> = subscriptions.iter().map(|subscription| subscription.text()).collect();
            ConfigMap::from([
                (CLIENT_ID.info.name.to_owned(), format!("{}-{number}", self.client_id())),
                (TOPICS.info.name.to_owned(), filters.join(",")),
            ])
        };
        let all: Vec<&Subscription> = self.settings.subscriptions.iter().collect();
        let numbers = 0..max.max(1);
        if self.settings.is_shared() {
            return numbers.map(|number| task(number, &all)).collect();
        }
        let shares = numbers.map(|number| {
            let own = all.iter().copied().filter(|subscription| owner(&subscription.filter, max) == number);
            (number, own.collect::<Vec<_>>())
        });
        shares.filter(|(_, own)| !own.is_empty()).map(|(number, own)| task(number, &own)).collect()
    }

    fn client_id(&self) -> &str {
        self.settings.broker.client_id.as_deref().unwrap_or(&self.name)
    }
}

#[async_trait]
impl Connector for SourceConnector {
    async fn start(&mut self, context: ConnectorContext) -> Result<()> {
        self.name = context.common.connector;
        self.offsets = Some(context.offsets);
        Ok(())
    }

    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        let mut tasks = self.planned(max);
        let left_behind = self.left_behind(&tasks).await?;
        if let Some(first) = tasks.first_mut()
            && !left_behind.is_empty()
        {
            first.insert(DRAINED.to_owned(), left_behind.join(","));
        }
        Ok(tasks)
    }

    async fn alter_offsets(&mut self, offsets: &[(Partition, Option<OffsetMap>)]) -> Result<()> {
        for (partition, offset) in offsets {
            if offset.is_some() {
                return Err(ConnectError::config(
                    "The broker keeps the position of an MQTT source, which cannot be set: delete the offsets to drop the \
                     broker's session with the messages in it",
                ));
            }
            let Some(client_id) = partition.0.get("client_id").and_then(|id| id.as_text()) else { continue };
            let dial = Dial { clean: true, expiry_seconds: 0, ..self.settings.dial(client_id.to_owned())? };
            let link = dialled(&self.settings.broker, dial).await;
            let link = link.map_err(|fault| {
                ConnectError::retriable(format!("The session of {client_id} cannot be dropped: {fault}"))
            })?;
            link.close().await;
        }
        Ok(())
    }
}

/// The task of a filter: the one whose number mixes best with the filter's hash, which for most filters stays the same
/// when the number of tasks changes.
fn owner(filter: &str, tasks: usize) -> usize {
    (0..tasks.max(1)).max_by_key(|task| mix(hash(filter.as_bytes()) ^ mix(*task as u64 + 1))).unwrap_or(0)
}

/// FNV-1a: the same in every version and on every machine, which the plan depends on.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

/// Plans the sink.
pub(crate) struct SinkConnector {
    client_id: Option<String>,
    name: Arc<str>,
}

impl SinkConnector {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { client_id: SinkSettings::read(settings)?.broker.client_id, name: Arc::from("") })
    }
}

#[async_trait]
impl Connector for SinkConnector {
    async fn start(&mut self, context: ConnectorContext) -> Result<()> {
        self.name = context.common.connector;
        Ok(())
    }

    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        let id = self.client_id.as_deref().unwrap_or(&self.name);
        let task = |number| ConfigMap::from([(CLIENT_ID.info.name.to_owned(), format!("{id}-sink-{number}"))]);
        Ok((0..max.max(1)).map(task).collect())
    }
}

/// The live look at validate: certificates are there, and with `mqtt.validate.connect` the broker as well.
pub(crate) fn probe(settings: Settings) -> BoxFuture<Vec<(&'static str, String)>> {
    Box::pin(async move {
        let source = SourceSettings::read(&settings).map(|read| read.broker);
        let Ok(broker) = source.or_else(|_| SinkSettings::read(&settings).map(|read| read.broker)) else {
            return Vec::new();
        };
        let wrong = broker.security.look();
        if !wrong.is_empty() || !settings.get(&VALIDATE_CONNECT).unwrap_or(false) {
            return wrong;
        }
        look(&broker).await.err().into_iter().collect()
    })
}

async fn look(broker: &BrokerSettings) -> std::result::Result<(), (&'static str, String)> {
    let id = format!("{}-validate-{}", broker.client_id.as_deref().unwrap_or("pipette"), std::process::id());
    let dial = broker.dial(id).map_err(|error| (SERVER.info.name, error.to_string()))?;
    let dial = Dial { timeout: dial.timeout.min(LOOK), ..dial };
    match dialled(broker, dial).await {
        Ok(link) => {
            link.close().await;
            Ok(())
        }
        Err(fault) => Err((blamed(&fault), fault.text)),
    }
}

/// The key to blame for a fault.
pub(crate) fn blamed(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::Credentials => PASSWORD.info.name,
        FaultKind::ClientId | FaultKind::TakenOver => CLIENT_ID.info.name,
        FaultKind::Version => VERSION.info.name,
        FaultKind::Tls(key) => key,
        FaultKind::TooLarge(_) => crate::config::MAX_PACKET.info.name,
        FaultKind::Away => SERVER.info.name,
    }
}

/// One connection to the first server that takes it, in the version that it knows.
async fn dialled(broker: &BrokerSettings, dial: Dial) -> std::result::Result<client::Link, Fault> {
    let budget = Arc::new(Budget::new(Held { bytes: 1024 * 1024, records: 1000 }, Overflow::Block));
    let mut last = Fault::away("mqtt.server.uri names no broker");
    for server in &broker.servers {
        let mut dial = Dial { server: server.clone(), ..dial.clone() };
        let mut outcome = client::connect(&dial, Arc::clone(&budget)).await;
        if broker.version.is_none() && outcome.as_ref().is_err_and(|fault| fault.kind == FaultKind::Version) {
            dial.version = Version::V3;
            outcome = client::connect(&dial, Arc::clone(&budget)).await;
        }
        match outcome {
            Ok(link) => return Ok(link),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(filters: &[String], max: usize) -> Vec<(String, Vec<String>)> {
        let config = ConfigMap::from([
            ("mqtt.server.uri".to_owned(), "mqtt://localhost".to_owned()),
            ("mqtt.client.id".to_owned(), "lab".to_owned()),
            ("mqtt.topics".to_owned(), filters.join(",")),
        ]);
        let mut connector = SourceConnector::new(&Settings::new(config, &crate::SOURCE_CONFIG)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks = runtime.block_on(connector.task_configs(max)).unwrap();
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        tasks.into_iter().map(|task| (task["mqtt.client.id"].clone(), list(&task["mqtt.topics"]))).collect()
    }

    #[test]
    fn each_filter_has_one_task_and_keeps_it() {
        let filters: Vec<String> = (0..100).map(|number| format!("site/{number}/#@1")).collect();
        let four = plan(&filters, 4);
        let mut all: Vec<_> = four.iter().flat_map(|(_, own)| own.clone()).collect();
        all.sort();
        let mut expected = filters.clone();
        expected.sort();
        assert_eq!(all, expected, "each once");
        assert!(four.iter().all(|(_, own)| own.len() > 10), "spread: {four:?}");

        let fewer = plan(&filters[1..], 4);
        let moved = |before: &[(String, Vec<String>)], after: &[(String, Vec<String>)]| {
            let home = |plan: &[(String, Vec<String>)], filter: &String| {
                plan.iter().find(|(_, own)| own.contains(filter)).map(|(id, _)| id.clone())
            };
            filters[1..].iter().filter(|filter| home(before, filter) != home(after, filter)).count()
        };
        assert_eq!(moved(&four, &fewer), 0, "the others stay when one filter goes");
        assert!(moved(&four, &plan(&filters, 5)) < 40, "a fifth task takes only its share");
    }

    #[test]
    fn there_are_no_more_tasks_than_filters_and_ids_are_those_of_the_place() {
        let one = plan(&["a/#".to_owned()], 8);
        assert_eq!(one.len(), 1);
        assert!(one[0].0.starts_with("lab-"));
        let both: Vec<_> = plan(&["a/#".to_owned(), "b/#".to_owned()], 8).into_iter().map(|(id, _)| id).collect();
        assert!(both.contains(&one[0].0), "the same filter, the same client id");
    }

    #[test]
    fn the_hash_stays_what_it_is() {
        // Another hash would strand messages in sessions on the day of an update.
        assert_eq!(hash(b"site/#"), 0x2f79_6101_77e7_3bb0);
        assert_eq!((owner("site/#", 4), owner("lab/+", 4)), (3, 3));
    }
}
