//! Schemas: immutable, shared by `Arc`, compared by pointer first.

use std::sync::{Arc, LazyLock};

use super::value::Value;

/// Names of the logical types, as Connect writes them.
pub mod logical {
    /// Decimal over `BYTES`, with the parameter `scale`.
    pub const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
    /// Days over `INT32`.
    pub const DATE: &str = "org.apache.kafka.connect.data.Date";
    /// Milliseconds of the day over `INT32`.
    pub const TIME: &str = "org.apache.kafka.connect.data.Time";
    /// Milliseconds since 1970 over `INT64`.
    pub const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
    /// The parameter of Decimal that carries the scale.
    pub const SCALE: &str = "scale";
}

/// Connect's schema types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array,
    Map,
    Struct,
}

impl Kind {
    /// Every kind, in Java's order.
    pub const ALL: [Self; 12] = [
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Float32,
        Self::Float64,
        Self::Boolean,
        Self::String,
        Self::Bytes,
        Self::Array,
        Self::Map,
        Self::Struct,
    ];

    /// Connect's name: `int8` … `struct`. JSON envelopes write `float` and `double` for the two floats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Array => "array",
            Self::Map => "map",
            Self::Struct => "struct",
        }
    }
}

/// A field of a struct schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name, never empty, unique in its struct.
    pub name: Arc<str>,
    /// Its schema.
    pub schema: Arc<Schema>,
}

/// A schema. Made by [`super::SchemaBuilder`] only.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(super) kind: Kind,
    pub(super) optional: bool,
    pub(super) default: Option<Value>,
    pub(super) name: Option<Arc<str>>,
    pub(super) version: Option<i32>,
    pub(super) doc: Option<Arc<str>>,
    pub(super) params: Box<[(Arc<str>, Arc<str>)]>,
    pub(super) fields: Box<[Field]>,
    /// Field indexes sorted by name; empty for structs small enough to search in order.
    pub(super) by_name: Box<[u32]>,
    pub(super) key: Option<Arc<Schema>>,
    pub(super) element: Option<Arc<Schema>>,
}

/// Up to this many fields a search in order is faster than a binary one.
pub(super) const LINEAR_FIELDS: usize = 8;

static REQUIRED: LazyLock<Vec<Arc<Schema>>> =
    LazyLock::new(|| Kind::ALL.map(|kind| Arc::new(Schema::bare(kind, false))).to_vec());
static OPTIONAL: LazyLock<Vec<Arc<Schema>>> =
    LazyLock::new(|| Kind::ALL.map(|kind| Arc::new(Schema::bare(kind, true))).to_vec());

impl Schema {
    /// The shared required schema of a primitive kind, Java's `Schema.STRING_SCHEMA` and friends.
    pub fn of(kind: Kind) -> Arc<Self> {
        Arc::clone(&REQUIRED[kind as usize])
    }

    /// The shared optional schema of a primitive kind, Java's `Schema.OPTIONAL_STRING_SCHEMA` and friends.
    pub fn optional(kind: Kind) -> Arc<Self> {
        Arc::clone(&OPTIONAL[kind as usize])
    }

    pub(super) fn bare(kind: Kind, optional: bool) -> Self {
        Self {
            kind,
            optional,
            default: None,
            name: None,
            version: None,
            doc: None,
            params: Box::default(),
            fields: Box::default(),
            by_name: Box::default(),
            key: None,
            element: None,
        }
    }

    /// The type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// True when null is a value of it.
    pub fn is_optional(&self) -> bool {
        self.optional
    }

    /// What stands for a missing value.
    pub fn default(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// The schema's name; logical types are recognised by it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The schema's version.
    pub fn version(&self) -> Option<i32> {
        self.version
    }

    /// The documentation.
    pub fn doc(&self) -> Option<&str> {
        self.doc.as_deref()
    }

    /// The parameters, in order.
    pub fn params(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.params
    }

    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value)
    }

    /// The fields of a struct, in order; empty otherwise.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The index of a field.
    pub fn field(&self, name: &str) -> Option<usize> {
        if self.by_name.is_empty() {
            return self.fields.iter().position(|field| &*field.name == name);
        }
        let found = self.by_name.binary_search_by(|index| (*self.fields[*index as usize].name).cmp(name)).ok()?;
        Some(self.by_name[found] as usize)
    }

    /// The key schema of a map.
    pub fn key_schema(&self) -> Option<&Arc<Self>> {
        self.key.as_ref()
    }

    /// The element schema of an array, the value schema of a map. Java allows it to be missing.
    pub fn value_schema(&self) -> Option<&Arc<Self>> {
        self.element.as_ref()
    }

    /// True when both are the same object or equal in every part.
    pub fn same(a: &Arc<Self>, b: &Arc<Self>) -> bool {
        Arc::ptr_eq(a, b) || a == b
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.optional == other.optional
            && self.version == other.version
            && self.name == other.name
            && self.doc == other.doc
            && self.default == other.default
            && same_params(&self.params, &other.params)
            && self.fields == other.fields
            && self.key == other.key
            && self.element == other.element
    }
}

/// Java compares parameters as a map: order does not matter.
fn same_params(a: &[(Arc<str>, Arc<str>)], b: &[(Arc<str>, Arc<str>)]) -> bool {
    a.len() == b.len() && a.iter().all(|param| b.contains(param))
}
