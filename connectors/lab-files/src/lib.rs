//! Watched folders of legacy lab servers.

/// What the crate brings.
pub static PLUGINS: &[pipette_api::Plugin] = &[];
