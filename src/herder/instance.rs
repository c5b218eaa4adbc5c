//! A connector on a thread of its own: made, started, asked for plans, stopped.
//!
//! `lifecycle.rs` starts the thread and watches the time; a call that never returns costs this thread and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pipette_api::{
    ConfigMap, ConnectError, Connector, ConnectorContext, Context, OffsetMap, OffsetReader, Partition, Result,
    Settings, Signal, Wish, async_trait,
};
use tokio::sync::{mpsc, watch};

use super::Parts;
use super::aside::panic_text;
use super::event::InstanceNews;
use super::part_keys;
use super::spec::lay_over;
use crate::plugins::ConnectorPlugin;
use crate::settings::connector::{offsets_topic, task_limit};
use crate::settings::worker::WorkerConfig;
use crate::store::OwnOffsets;
use crate::task::report::Trace;
use crate::telemetry;

/// What a connector's thread is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Plan,
    Stop,
}

/// What a connector is started with.
pub(super) struct Start {
    pub(super) name: Arc<str>,
    pub(super) config: Arc<ConfigMap>,
    pub(super) plugin: ConnectorPlugin,
    pub(super) shared: pipette_api::Shared,
    pub(super) wish: watch::Receiver<Wish>,
}

/// Says what happens to a connector.
pub(super) type Say = Box<dyn Fn(InstanceNews) + Send>;

/// Starts the thread with a configuration without placeholders. `Gone` or `Failed` is the last thing it says.
pub(super) fn spawn(
    parts: &Parts,
    start: Start,
    config: ConfigMap,
    asks: mpsc::UnboundedReceiver<Ask>,
    say: Say,
) -> Result<()> {
    let config = Arc::new(config);
    let worker = Arc::clone(&parts.worker);
    for warning in part_keys::warnings(&parts.plugins, &worker, start.plugin, &start.config, &config) {
        tracing::warn!(connector = %start.name, "{warning}");
    }
    let context = ConnectorContext {
        offsets: match start.plugin {
            ConnectorPlugin::Source(_) => {
                let store = parts.offsets.of(offsets_topic(&config))?;
                Arc::new(OwnOffsets { store, connector: Arc::clone(&start.name) })
            }
            ConnectorPlugin::Sink(_) => Arc::new(NoOffsets),
        },
        common: Context {
            connector: Arc::clone(&start.name),
            io: parts.io.clone(),
            signal: Signal::new(start.wish.clone()),
            shared: start.shared.clone(),
            metrics: parts.metrics.connector(&start.name),
            folder: parts.folders.of(&start.name),
        },
    };
    let thread = std::thread::Builder::new().name(format!("connector-{}", start.name));
    let spawned = thread.spawn(move || {
        let _entered = tracing::error_span!("connector", connector = %start.name).entered();
        let live = AssertUnwindSafe(|| live(&Plugged { start: &start, config, worker }, context, asks, &say));
        let failed = match catch_unwind(live) {
            Ok(Ok(())) => return say(InstanceNews::Gone),
            Ok(Err(error)) => error,
            Err(panic) => {
                let place = telemetry::panic_place().map(|place| format!(" at {place}")).unwrap_or_default();
                ConnectError::fatal(format!("the connector panicked{place}: {}", panic_text(&*panic)))
            }
        };
        say(InstanceNews::Failed(Trace::of_connector(&start.name, "start", &failed)));
    });
    spawned
        .map(drop)
        .map_err(|error| ConnectError::fatal("No thread could be started for the connector").because(error))
}

/// A start with everything in place of its placeholders.
struct Plugged<'a> {
    start: &'a Start,
    config: Arc<ConfigMap>,
    worker: Arc<WorkerConfig>,
}

fn live(
    plugged: &Plugged<'_>,
    context: ConnectorContext,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    say: &Say,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ConnectError::fatal("Cannot make a runtime for the connector").because(error))?;
    runtime.block_on(async {
        let plugin = plugged.start.plugin;
        let settings = Settings::new(Arc::clone(&plugged.config), plugin.info().config);
        let settings = settings.within(plugged.worker.reach.clone());
        let mut connector = match plugin {
            ConnectorPlugin::Source(plugin) => (plugin.connector)(settings),
            ConnectorPlugin::Sink(plugin) => (plugin.connector)(settings),
        }?;
        connector.start(context).await?;
        say(InstanceNews::Started);
        serve(plugged, connector.as_mut(), &mut asks, say).await;
        Ok(())
    })
}

/// Answers asks, and watches for a change of plan in between. Ends when asked to, or when nobody can ask any more.
async fn serve(
    plugged: &Plugged<'_>,
    connector: &mut dyn Connector,
    asks: &mut mpsc::UnboundedReceiver<Ask>,
    say: &Say,
) {
    let mut planned = false;
    loop {
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(Ask::Plan) => {
                    say(plan(plugged, connector).await);
                    planned = true;
                }
                Some(Ask::Stop) | None => return connector.stop().await,
            },
            // Not asked again before the plan it announced has been made.
            changed = connector.changed(), if planned => {
                planned = false;
                say(match changed {
                    Ok(()) => InstanceNews::Changed,
                    Err(error) => troubled(plugged.start, "changed", &error),
                });
            }
        }
    }
}

async fn plan(plugged: &Plugged<'_>, connector: &mut dyn Connector) -> InstanceNews {
    let Plugged { start, config, worker } = plugged;
    let planned = async {
        let limit = task_limit(config)?;
        let plans = connector.task_configs(limit.0).await?;
        lay_over(&start.name, &start.config, &worker.providers, limit, plans)
    };
    match planned.await {
        Ok(configs) => InstanceNews::Planned(configs),
        Err(error) => troubled(start, "task_configs", &error),
    }
}

fn troubled(start: &Start, call: &'static str, error: &ConnectError) -> InstanceNews {
    InstanceNews::Troubled(Trace::of_connector(&start.name, call, error))
}

/// A sink has none: its offsets are Kafka's.
struct NoOffsets;

#[async_trait]
impl OffsetReader for NoOffsets {
    async fn get(&self, _partition: &Partition) -> Result<Option<OffsetMap>> {
        Ok(None)
    }

    async fn scan(&self) -> Result<Vec<(Partition, OffsetMap)>> {
        Ok(Vec::new())
    }
}
