//! herder

pub mod state;
#[cfg(test)]
mod state_tests;
