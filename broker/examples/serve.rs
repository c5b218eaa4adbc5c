//! Serves a folder until the process is ended: `cargo run -p pipette-broker --example serve -- DIR ADDRESS [nofsync]`.

use std::error::Error;
use std::io::Write;

use pipette_broker::{Broker, BrokerConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, address, options @ ..] = arguments.as_slice() else {
        return Err("usage: serve DIR ADDRESS [nofsync]".into());
    };
    let mut config = BrokerConfig::new(dir);
    config.listen = address.parse()?;
    config.fsync = !options.iter().any(|option| option == "nofsync");
    let broker = Broker::start(config)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", broker.address())?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}
