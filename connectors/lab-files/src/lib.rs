//! Watched folders of legacy lab servers.
//!
//! A file becomes records once it has stopped changing, and leaves the folder only after its last record is in Kafka and
//! its offset is stored. Reading order: `config.rs` and `settings.rs` (the keys), `connector.rs`, `source.rs` (the task),
//! then what the task is made of: `scan.rs` and `hint.rs` find files, `settle.rs` and `ledger.rs` decide, `reading.rs`
//! with `window.rs`, `decode.rs` and `formats/` turns them into records, `finish.rs` clears them away, `identity.rs` says
//! which file is which, `board.rs` shows it all.

mod board;
mod clear;
mod config;
mod connector;
mod decode;
mod emit;
mod fill;
mod filter;
mod finish;
mod formats;
mod hint;
mod identity;
mod ledger;
mod payload;
mod reading;
mod scan;
mod settings;
mod settle;
mod source;
mod watch;
mod window;

pub use config::CONFIG;

use pipette_api::{ExactlyOnce, Info, Plugin, SourcePlugin};

/// The source.
pub static SOURCE: SourcePlugin = SourcePlugin {
    // Records and the position behind them go into one transaction, and positions are exact bytes of the file.
    exactly_once: |_| ExactlyOnce::Supported,
    probe: Some(connector::probe),
    metrics: &board::METRICS,
    questions: &[board::FILES],
    ..SourcePlugin::new(
        Info {
            class: "io.pipette.LabFilesSourceConnector",
            aliases: &["LabFilesSource", "LabFilesSourceConnector"],
            version: env!("CARGO_PKG_VERSION"),
            about: "Reads the files that appear in watched folders, and clears them away once they are in Kafka.",
            readme: include_str!("../README.md"),
            config: &CONFIG,
        },
        |_| Ok(Box::new(connector::LabFilesConnector)),
        |settings| Ok(Box::new(source::LabFilesTask::new(&settings)?)),
    )
};

/// The plugins of this crate.
pub static PLUGINS: &[Plugin] = &[Plugin::Source(SOURCE)];
