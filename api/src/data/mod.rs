//! Connect's data: schemas and values. Read `value.rs` first, then `schema.rs`.

pub mod blob;
pub mod build;
pub mod cache;
pub mod decimal;
pub mod map;
pub mod payload;
pub mod record_struct;
pub mod schema;
pub mod unread;
pub mod value;

pub use blob::{Blob, Text};
pub use build::SchemaBuilder;
pub use cache::{ArcCache, KeysCache, SchemaCache};
pub use decimal::Decimal;
pub use map::{Keys, Map};
pub use payload::{Payload, PayloadReader};
pub use record_struct::Struct;
pub use schema::{Field, Kind, Schema, logical};
pub use unread::{Notation, Part, Span, Unread};
pub use value::{Datum, Value};
