//! A source for worlds that make none: only its name is looked at.

use pipette_api::{ConfigDef, ConnectError, Info, SourcePlugin};

static NONE: ConfigDef = ConfigDef::new(&[]);
pub(crate) static SOURCE: SourcePlugin = SourcePlugin::new(
    Info { class: "X", aliases: &[], version: "1", about: "", readme: "", config: &NONE },
    |_| Err(ConnectError::fatal("not made here")),
    |_| Err(ConnectError::fatal("not made here")),
);
