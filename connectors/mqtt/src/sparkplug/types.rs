//! The data types of Sparkplug B.
//!
//! Read next: `value.rs`.

use pipette_api::Kind;

/// A data type; the number is that of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum DataType {
    Unknown,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float,
    Double,
    Boolean,
    String,
    DateTime,
    Text,
    Uuid,
    DataSet,
    Bytes,
    File,
    Template,
    PropertySet,
    PropertySetList,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    UInt8Array,
    UInt16Array,
    UInt32Array,
    UInt64Array,
    FloatArray,
    DoubleArray,
    BooleanArray,
    StringArray,
    DateTimeArray,
}

/// By number, each with its name.
const ALL: [(DataType, &str); 35] = [
    (DataType::Unknown, "Unknown"),
    (DataType::Int8, "Int8"),
    (DataType::Int16, "Int16"),
    (DataType::Int32, "Int32"),
    (DataType::Int64, "Int64"),
    (DataType::UInt8, "UInt8"),
    (DataType::UInt16, "UInt16"),
    (DataType::UInt32, "UInt32"),
    (DataType::UInt64, "UInt64"),
    (DataType::Float, "Float"),
    (DataType::Double, "Double"),
    (DataType::Boolean, "Boolean"),
    (DataType::String, "String"),
    (DataType::DateTime, "DateTime"),
    (DataType::Text, "Text"),
    (DataType::Uuid, "UUID"),
    (DataType::DataSet, "DataSet"),
    (DataType::Bytes, "Bytes"),
    (DataType::File, "File"),
    (DataType::Template, "Template"),
    (DataType::PropertySet, "PropertySet"),
    (DataType::PropertySetList, "PropertySetList"),
    (DataType::Int8Array, "Int8Array"),
    (DataType::Int16Array, "Int16Array"),
    (DataType::Int32Array, "Int32Array"),
    (DataType::Int64Array, "Int64Array"),
    (DataType::UInt8Array, "UInt8Array"),
    (DataType::UInt16Array, "UInt16Array"),
    (DataType::UInt32Array, "UInt32Array"),
    (DataType::UInt64Array, "UInt64Array"),
    (DataType::FloatArray, "FloatArray"),
    (DataType::DoubleArray, "DoubleArray"),
    (DataType::BooleanArray, "BooleanArray"),
    (DataType::StringArray, "StringArray"),
    (DataType::DateTimeArray, "DateTimeArray"),
];

impl DataType {
    /// The type of a number; what a later specification adds is unknown.
    pub(super) fn of(number: u32) -> Self {
        let known = usize::try_from(number).ok().and_then(|place| ALL.get(place));
        known.map_or(Self::Unknown, |(data_type, _)| *data_type)
    }

    pub(super) fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    /// What the elements of an array are; `None` for what is no array.
    pub(super) fn element(self) -> Option<Self> {
        let element = match self {
            Self::Int8Array => Self::Int8,
            Self::Int16Array => Self::Int16,
            Self::Int32Array => Self::Int32,
            Self::Int64Array => Self::Int64,
            Self::UInt8Array => Self::UInt8,
            Self::UInt16Array => Self::UInt16,
            Self::UInt32Array => Self::UInt32,
            Self::UInt64Array => Self::UInt64,
            Self::FloatArray => Self::Float,
            Self::DoubleArray => Self::Double,
            Self::BooleanArray => Self::Boolean,
            Self::StringArray => Self::String,
            Self::DateTimeArray => Self::DateTime,
            _ => return None,
        };
        Some(element)
    }

    /// Bytes and sign of an integer.
    pub(super) fn integer(self) -> Option<(u8, bool)> {
        Some(match self {
            Self::Int8 => (1, true),
            Self::Int16 => (2, true),
            Self::Int32 => (4, true),
            Self::Int64 => (8, true),
            Self::UInt8 => (1, false),
            Self::UInt16 => (2, false),
            Self::UInt32 => (4, false),
            Self::UInt64 => (8, false),
            _ => return None,
        })
    }

    /// The kind of its values in Connect, which has no unsigned numbers: the next larger one takes them. `None` for what
    /// each value decides by itself.
    pub(super) fn kind(self) -> Option<Kind> {
        Some(match self {
            Self::Int8 => Kind::Int8,
            Self::Int16 | Self::UInt8 => Kind::Int16,
            Self::Int32 | Self::UInt16 => Kind::Int32,
            Self::Int64 | Self::UInt32 | Self::UInt64 | Self::DateTime => Kind::Int64,
            Self::Float => Kind::Float32,
            Self::Double => Kind::Float64,
            Self::Boolean => Kind::Boolean,
            Self::String | Self::Text | Self::Uuid => Kind::String,
            Self::Bytes | Self::File => Kind::Bytes,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_specification() {
        for (number, (data_type, _)) in ALL.iter().enumerate() {
            assert_eq!(*data_type as usize, number);
        }
        assert_eq!((DataType::of(10), DataType::of(34)), (DataType::Double, DataType::DateTimeArray));
        assert_eq!((DataType::of(35), DataType::of(u32::MAX)), (DataType::Unknown, DataType::Unknown));
        assert_eq!(DataType::of(15).name(), "UUID");
    }
}
