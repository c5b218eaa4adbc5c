//! convert

use pipette_api::Plugin;

/// The built-in converters.
pub static PLUGINS: &[Plugin] = &[];
