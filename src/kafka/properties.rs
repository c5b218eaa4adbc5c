//! Java client properties to librdkafka's.

use pipette_api::{ConfigMap, Result};

use crate::task::spec::ClientProperties;

pub fn producer(worker: &ConfigMap, connector: &ConfigMap, client_id: &str) -> Result<ClientProperties> {
    let _ = (worker, connector);
    Ok(ClientProperties::from([("client.id".into(), client_id.into())]))
}

pub fn consumer(worker: &ConfigMap, connector: &ConfigMap, client_id: &str, group: &str) -> Result<ClientProperties> {
    let _ = (worker, connector);
    Ok(ClientProperties::from([("client.id".into(), client_id.into()), ("group.id".into(), group.into())]))
}
