//! Watched folders of legacy lab servers, and folders that files are written to.
//!
//! The source: a file becomes records once it has stopped changing, and leaves the folder only after its last record is in Kafka and
//! its offset is stored. Reading order: `config.rs` and `settings.rs` (the keys), `connector.rs`, `source.rs` (the task),
//! then what the task is made of: `scan.rs` and `hint.rs` find files, `settle.rs` and `ledger.rs` decide, `reading.rs`
//! with `window.rs`, `decode.rs` and `formats/` turns them into records, `claim.rs` uploads them instead, `finish.rs` clears
//! them away, `identity.rs` says which file is which, `board.rs` shows it all.
//!
//! The sink: a record becomes a file. Begin at `sink.rs`.

mod board;
mod claim;
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
mod sink;
mod source;
mod watch;
mod window;

pub use config::CONFIG;
pub use sink::SINK_CONFIG;

use pipette_api::{ExactlyOnce, Info, Plugin, SinkPlugin, SourcePlugin};

const README: &str = include_str!("../README.md");

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
            readme: README,
            config: &CONFIG,
        },
        |_| Ok(Box::new(connector::LabFilesConnector)),
        |settings| Ok(Box::new(source::LabFilesTask::new(&settings)?)),
    )
};

/// The sink.
pub static SINK: SinkPlugin = SinkPlugin {
    probe: Some(sink::probe),
    metrics: &sink::METRICS,
    ..SinkPlugin::new(
        Info {
            class: "io.pipette.LabFilesSinkConnector",
            aliases: &["LabFilesSink", "LabFilesSinkConnector"],
            version: env!("CARGO_PKG_VERSION"),
            about: "Writes each record to a file of its own, whole and synced before it has its name.",
            readme: README,
            config: &SINK_CONFIG,
        },
        |_| Ok(Box::new(sink::LabFilesSinkConnector)),
        |settings| Ok(Box::new(sink::LabFilesSinkTask::new(&settings)?)),
    )
};

/// The plugins of this crate.
pub static PLUGINS: &[Plugin] = &[Plugin::Source(SOURCE), Plugin::Sink(SINK)];
