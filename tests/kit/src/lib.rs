//! The laws every plugin must keep, with the fakes and builders to test them.

pub mod config_laws;
pub mod transform_laws;
