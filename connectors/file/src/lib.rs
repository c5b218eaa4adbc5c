//! FileStreamSource and FileStreamSink.

/// What the crate brings.
pub static PLUGINS: &[pipette_api::Plugin] = &[];
