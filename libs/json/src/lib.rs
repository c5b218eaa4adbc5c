//! JSON text to and from Connect values, without a tree in between.
//!
//! A [`Document`] checks the bytes once; its [`Reader`] walks them token by token. The [`Parser`] builds schemaless
//! values from the tokens, the worker's JSON converter (`src/convert/json/`) builds values of a schema from the same ones.
//! Strings become spans of the input; only those with escapes are copied. Nothing here recurses over input.
//!
//! Leniency, limits, number text and escapes are those of the parser inside Apache's `JsonConverter`, because users meet
//! both with the same data. Reading order: [`Document`], [`Reader`], [`Number`], [`Parser`], then [`write`](fn@write).

mod base64;
mod decimal;
mod encoding;
mod fit;
mod float;
mod layouts;
mod number;
mod place;
mod print;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod track;
mod tree;
mod walk;
mod write;

pub use base64::{decode_base64, write_base64};
pub use decimal::{decimal_from_bytes, decimal_from_text, write_decimal};
pub use encoding::Document;
pub use fit::Fit;
pub use float::{write_f32, write_f64};
pub use number::Number;
pub use place::Step;
pub use print::print;
pub use read::{MAX_DEPTH, Mark, Name, Reader, Shape, SyntaxError};
pub use tree::{Aside, Parser, parse, unique};
pub use write::{write, write_i64, write_string, write_text};
