//! The keys of the sink, and its settings as plain data. Read next: `../sink.rs`.

use std::path::PathBuf;

use pipette_api::config::checks::{not_empty, one_of};
use pipette_api::config::{Importance, Key};
use pipette_api::{ConfigDef, ConnectError, Result, Settings};

use super::template::Template;
use super::tree::Collision;

const COLLISIONS: &[&str] = &["suffix", "overwrite", "fail"];
const NULLS: &[&str] = &["ignore", "fail"];

pub(crate) static OUTPUT_PATH: Key<String> = Key::new(
    "output.path",
    "The folder that files are written below. It must exist; no name leads out of it. A share that is not mounted is \
     waited for.",
)
.path()
.importance(Importance::High)
.group("Output")
.check(not_empty);
static FILE_NAME: Key<String> = Key::new(
    "file.name",
    "The name of each file, relative to `output.path`, with folders if you like. Places are filled from the record: \
     `${topic}`, `${partition}`, `${offset}` (`${offset:20}`: with zeros in front), `${key}`, `${timestamp}` \
     (milliseconds; `${timestamp:yyyy-MM-dd}`: by a pattern of SimpleDateFormat, in UTC), `${header:NAME}`, \
     `${field:PATH}`. What is no safe name on every system becomes `_`.",
)
.default("${topic}/${partition}/${topic}+${partition}+${offset:20}")
.importance(Importance::High)
.group("Output")
.check(template);
static VALUE_FIELD: Key<String> = Key::new(
    "file.value.field",
    "The field of the value that holds the content of the file, nested ones behind dots. Without it the value itself is \
     the content.",
)
.optional()
.group("Output")
.check(not_empty);
static COLLISION: Key<String> = Key::new(
    "collision",
    "When there is a file of the name with other content: `suffix` adds topic, partition and offset to the name, \
     `overwrite` replaces the file, `fail` makes the record bad. The same content is never written twice.",
)
.default("suffix")
.group("Output")
.recommended(COLLISIONS)
.check(|text| one_of(text, COLLISIONS));
static ON_NULL: Key<String> = Key::new(
    "behavior.on.null.values",
    "A record without content: `ignore` leaves it out, `fail` makes it a bad record.",
)
.default("ignore")
.group("Errors")
.recommended(NULLS)
.check(|text| one_of(text, NULLS));

/// The definition, in the order of forms and pages.
pub static SINK_CONFIG: ConfigDef =
    ConfigDef::new(&[&OUTPUT_PATH.info, &FILE_NAME.info, &VALUE_FIELD.info, &COLLISION.info, &ON_NULL.info]);

/// The settings as the task uses them.
pub(crate) struct SinkSettings {
    pub(crate) output: PathBuf,
    pub(crate) name: Template,
    pub(crate) field: Option<String>,
    pub(crate) collision: Collision,
    pub(crate) ignores_null: bool,
}

impl SinkSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        Ok(Self {
            output: settings.get(&OUTPUT_PATH)?.into(),
            name: Template::parse(&settings.get(&FILE_NAME)?).map_err(ConnectError::config)?,
            field: settings.find(&VALUE_FIELD)?,
            collision: match settings.get(&COLLISION)?.as_str() {
                "overwrite" => Collision::Overwrite,
                "fail" => Collision::Fail,
                _ => Collision::Suffix,
            },
            ignores_null: settings.get(&ON_NULL)? == "ignore",
        })
    }
}

fn template(text: Option<&str>) -> std::result::Result<(), String> {
    match text.unwrap_or_default() {
        "" => Err("String must be non-empty".into()),
        text => Template::parse(text).map(drop),
    }
}
