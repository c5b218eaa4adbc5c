//! herder

pub mod form;
pub mod state;
#[cfg(test)]
mod state_tests;
pub mod validate;
pub mod version;
