//! Apache Connect's transformations and predicates.

/// What the crate brings.
pub static PLUGINS: &[pipette_api::Plugin] = &[];
