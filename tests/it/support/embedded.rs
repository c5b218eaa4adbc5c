//! The embedded broker inside of the test's own process. One that is a process of its own: `flows/told.rs`.

use std::path::Path;

use pipette_broker::{Broker, BrokerConfig};

/// A broker on a free port, with its data in `folder`; nobody waits for the disk.
pub(crate) fn broker(folder: &Path) -> Broker {
    broker_on(folder, 0)
}

/// The same on a port.
pub(crate) fn broker_on(folder: &Path, port: u16) -> Broker {
    let mut config = BrokerConfig::new(folder.join("broker"));
    config.listen = ([127, 0, 0, 1], port).into();
    config.fsync = false;
    Broker::start(config).expect("a broker")
}
