//! FileStreamSource and FileStreamSink: lines of a file to records, records to lines of a file.
//!
//! The connectors that ship with Apache Kafka, under their Java names. The worker lists [`PLUGINS`].
//! Read next: `source.rs`, then `lines.rs` (the splitter); `sink.rs`, then `text.rs` (Java's text of a value).

mod buffers;
mod io;
mod lines;
mod plan;
mod sink;
mod source;
mod stdin;
mod text;

use pipette_api::config::ConfigDef;
use pipette_api::{ExactlyOnce, Info, Plugin, SinkPlugin, SourcePlugin};

const README: &str = include_str!("../README.md");
/// What Apache's worker reports for these classes; tools compare it.
const VERSION: &str = "4.3.1";

/// The keys of the source.
pub static SOURCE_CONFIG: ConfigDef =
    ConfigDef::new(&[&source::FILE.info, &source::TOPIC.info, &source::BATCH_SIZE.info]);

/// The keys of the sink.
pub static SINK_CONFIG: ConfigDef = ConfigDef::new(&[&sink::FILE.info]);

/// The source.
pub static SOURCE: SourcePlugin = SourcePlugin {
    exactly_once: |settings| match plan::file(settings, &source::FILE) {
        Ok(Some(_)) => ExactlyOnce::Supported,
        _ => ExactlyOnce::Unsupported("lines of standard input cannot be read a second time: set 'file'".into()),
    },
    ..SourcePlugin::new(
        Info {
            class: "org.apache.kafka.connect.file.FileStreamSourceConnector",
            aliases: &["FileStreamSource", "FileStreamSourceConnector"],
            version: VERSION,
            about: "Each line of a file becomes a record; a growing file is followed.",
            readme: README,
            config: &SOURCE_CONFIG,
        },
        |settings| Ok(Box::new(plan::SourceConnector::new(&settings)?)),
        |settings| Ok(Box::new(source::FileStreamSource::new(source::SourceSettings::read(&settings)?))),
    )
};

/// The sink.
pub static SINK: SinkPlugin = SinkPlugin::new(
    Info {
        class: "org.apache.kafka.connect.file.FileStreamSinkConnector",
        aliases: &["FileStreamSink", "FileStreamSinkConnector"],
        version: VERSION,
        about: "Each record becomes a line at the end of a file.",
        readme: README,
        config: &SINK_CONFIG,
    },
    |_| Ok(Box::new(plan::SinkConnector)),
    |settings| {
        let file = plan::file(&settings, &sink::FILE)?;
        Ok(Box::new(sink::FileStreamSink::new(file, settings.reach().clone())))
    },
);

/// What this crate brings.
pub static PLUGINS: &[Plugin] = &[Plugin::Source(SOURCE), Plugin::Sink(SINK)];
