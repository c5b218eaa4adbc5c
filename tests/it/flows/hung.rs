//! Plugins that do not return: seen, told, and in nobody's way.

use std::sync::Arc;
use std::time::Duration;

use pipette::task::TaskNews;
use pipette::task::watchdog::Trouble;
use pipette_api::{
    Assigned, ConfigDef, ConnectError, Info, Key, Offsets, Result, Seeks, SinkBatch, SinkContext, SinkPlugin, SinkTask,
    async_trait,
};
use pipette_broker::{Broker, BrokerConfig};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::stage::Stage;
use crate::bed::plugins::GATE;
use crate::bed::{Bed, wait_until};
use crate::support::topic;

fn live() -> (tempfile::TempDir, Broker, Bed) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::on_any_port(folder.path().join("broker"))).unwrap();
    let bed = Bed::live(&broker.address().to_string());
    (folder, broker, bed)
}

fn health(bed: &Bed, name: &str) -> Value {
    bed.get(&format!("/connectors/{name}/status")).json()["tasks"][0]["health"].clone()
}

fn is_hung(health: &Value) -> bool {
    health.as_str().is_some_and(|health| health.starts_with("hung: no return from poll for "))
}

#[test]
fn a_task_that_hangs_is_shown_until_it_moves_again() {
    let (_folder, _broker, bed) = live();
    bed.create("gated", "Gated", &[]);
    wait_until(|| health(&bed, "gated"), is_hung);
    bed.assert_prompt();
    assert_eq!(bed.states("gated"), ["RUNNING", "RUNNING"], "Apache has no word for it");
    let metric = |value: u8| format!("pipette_task_hung{{connector=\"gated\",task=\"0\"}} {value}\n");
    wait_until(|| bed.get("/metrics").body, |metrics| metrics.contains(&metric(1)));
    *GATE.0.lock().unwrap() = true;
    GATE.1.notify_all();
    wait_until(|| health(&bed, "gated"), Value::is_null);
    wait_until(|| bed.get("/metrics").body, |metrics| metrics.contains(&metric(0)));
}

#[test]
fn a_task_that_hangs_can_be_deleted_and_its_name_used_again() {
    let (folder, _broker, bed) = live();
    bed.create("stuck", "BlocksInPoll", &[]);
    wait_until(|| health(&bed, "stuck"), is_hung);
    assert_eq!(bed.delete("/connectors/stuck").status, 204);
    assert_eq!(bed.get("/connectors/stuck/status").status, 404);
    let file = folder.path().join("in.txt");
    std::fs::write(&file, "a line\n").unwrap();
    bed.create("stuck", "FileStreamSource", &[("file", file.to_str().unwrap())]);
    bed.wait_for_states("stuck", &["RUNNING", "RUNNING"]);
    assert_eq!(health(&bed, "stuck"), Value::Null);
}

static TOPICS: Key<String> = Key::new("topics", "The topics.");
static CALL: Key<String> = Key::new("call", "The call that does not return before it may.");
static KEYS: ConfigDef = ConfigDef::new(&[&TOPICS.info, &CALL.info]);
static SLOW: SinkPlugin = SinkPlugin::new(
    Info { class: "test.Slow", aliases: &[], version: "1", about: "", readme: "", config: &KEYS },
    |_| Err(ConnectError::fatal("only tasks here")),
    |settings| Ok(Box::new(Slow { call: settings.get(&CALL)? })),
);

/// A permit lets a call return.
static MAY: Semaphore = Semaphore::const_new(0);

struct Slow {
    call: String,
}

impl Slow {
    async fn go(&self, call: &str) {
        if self.call == call {
            MAY.acquire().await.unwrap().forget();
        }
    }
}

#[async_trait]
impl SinkTask for Slow {
    async fn start(&mut self, _context: SinkContext) -> Result<()> {
        self.go("start").await;
        Ok(())
    }

    async fn open(&mut self, _assigned: &[Assigned]) -> Result<Seeks> {
        self.go("open").await;
        Ok(Seeks::new())
    }

    async fn put(&mut self, _batch: Arc<SinkBatch>) -> Result<()> {
        self.go("put").await;
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        self.go("flush").await;
        Ok(upto.clone())
    }
}

#[test]
fn each_call_that_lasts_is_named_until_it_returns() {
    let mut stage = Stage::new();
    stage.hung_after(Duration::from_millis(200));
    stage.flush_interval = Duration::from_millis(50);
    topic::write(&stage.bootstrap(), "slow", 0, "key", "a record");
    for call in ["start", "open", "put", "flush"] {
        let name = format!("slow-{call}");
        let task = stage.sink(&name, &SLOW, &[("topics", "slow"), ("call", call)]);
        let is_it =
            |news: &TaskNews| matches!(news, TaskNews::Trouble(Some(Trouble::Hung { inside, .. })) if *inside == call);
        stage.hear(&name, is_it);
        // One, and every later flush.
        MAY.add_permits(10_000);
        stage.hear(&name, |news| matches!(news, TaskNews::Trouble(None)));
        stage.stop(&name, &task);
        MAY.forget_permits(usize::MAX >> 3);
    }
}
