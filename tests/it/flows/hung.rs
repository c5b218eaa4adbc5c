//! Plugins that do not return: seen, told, and in nobody's way.

use pipette_broker::{Broker, BrokerConfig};
use serde_json::Value;

use crate::bed::plugins::GATE;
use crate::bed::{Bed, wait_until};

fn live() -> (tempfile::TempDir, Broker, Bed) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = BrokerConfig::new(folder.path().join("broker"));
    config.listen = ([127, 0, 0, 1], 0).into();
    let broker = Broker::start(config).unwrap();
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
