//! Steps of a chain that wait for something outside, and steps outside of the converters.
//!
//! `flight.rs` is one asynchronous step at work, `line.rs` all of a chain; the loops use it through `source.rs` and
//! `sink.rs`. `expand.rs` makes several records of one, `collect.rs` one of several. A task whose chain has nothing of the
//! kind never comes here.

pub mod collect;
pub mod expand;
pub mod flight;
pub mod line;
pub mod sink;
pub mod source;
#[cfg(test)]
#[path = "../tests/line.rs"]
mod tests;
#[cfg(test)]
#[path = "../tests/toys.rs"]
pub(crate) mod toys;
