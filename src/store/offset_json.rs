//! Partitions and offsets as Java's worker stores them: compact JSON without schemas.
//!
//! Used by the file store, by the import of Java's standalone file and by the Kafka store, so that workers of
//! either kind read each other's offsets. Keys are `["connector",{partition}]`, values `{offset}`.

use std::sync::Arc;

use pipette_api::{ConnectError, OffsetMap, Partition, Primitive, Result};
use serde_json::{Map, Number, Value};

/// The key of a partition's offset, members in sorted order.
pub fn encode_key(connector: &str, partition: &Partition) -> Vec<u8> {
    Value::Array(vec![Value::from(connector), to_json(&partition.0)]).to_string().into_bytes()
}

/// The connector and partition of a key. Readers take any member order: Java writes that of its hash map.
pub fn decode_key(bytes: &[u8]) -> Result<(Arc<str>, Partition)> {
    let shape = || ConnectError::data("An offset key is not of the form [\"connector\",{partition}]");
    match serde_json::from_slice(bytes).map_err(|error| shape().because(error))? {
        Value::Array(parts) => match <[Value; 2]>::try_from(parts).map_err(|_| shape())? {
            [Value::String(connector), Value::Object(partition)] => {
                Ok((Arc::from(connector), Partition(from_json(partition)?)))
            }
            _ => Err(shape()),
        },
        _ => Err(shape()),
    }
}

/// A partition or an offset as a text, members in sorted order.
pub fn encode(map: &OffsetMap) -> String {
    to_json(map).to_string()
}

/// True for the key of a record whose source names no partition: Java stores those and lists them nowhere.
pub fn is_of_no_partition(bytes: &[u8]) -> bool {
    serde_json::from_slice::<(String, ())>(bytes).is_ok()
}

/// The value of an offset, members in sorted order.
pub fn encode_offset(offset: &OffsetMap) -> Vec<u8> {
    encode(offset).into_bytes()
}

/// The offset of a value.
pub fn decode_offset(bytes: &[u8]) -> Result<OffsetMap> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(offset)) => from_json(offset),
        Ok(_) => Err(ConnectError::data("An offset is not a JSON object")),
        Err(error) => Err(ConnectError::data("An offset is not JSON").because(error)),
    }
}

fn to_json(map: &OffsetMap) -> Value {
    Value::Object(map.iter().map(|(name, value)| (name.to_string(), primitive_to_json(value))).collect())
}

fn primitive_to_json(value: &Primitive) -> Value {
    match value {
        Primitive::Null => Value::Null,
        Primitive::Bool(value) => Value::from(*value),
        Primitive::Int(value) => Value::from(*value),
        Primitive::Float(bits) => float_to_json(f64::from_bits(*bits)),
        Primitive::Text(text) => Value::from(&**text),
    }
}

/// JSON has no infinities: Java's mapper writes them as text, and so they come back as text there and here.
fn float_to_json(value: f64) -> Value {
    Number::from_f64(value).map_or_else(
        || {
            Value::from(match value {
                value if value.is_nan() => "NaN",
                value if value > 0.0 => "Infinity",
                _ => "-Infinity",
            })
        },
        Value::Number,
    )
}

fn from_json(map: Map<String, Value>) -> Result<OffsetMap> {
    map.into_iter().map(|(name, value)| Ok((Arc::from(name.as_str()), primitive_from_json(&name, value)?))).collect()
}

fn primitive_from_json(name: &str, value: Value) -> Result<Primitive> {
    match value {
        Value::Null => Ok(Primitive::Null),
        Value::Bool(value) => Ok(Primitive::Bool(value)),
        Value::String(text) => Ok(Primitive::from(text)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Ok(Primitive::Int(value)),
            (None, Some(value)) if !number.is_u64() => Ok(Primitive::Float(value.to_bits())),
            _ => Err(ConnectError::data(format!("Offset member {name} does not fit 64 bits: {number}"))),
        },
        Value::Array(_) | Value::Object(_) => Err(ConnectError::data(format!(
            "Offsets may only contain primitive types as values, but field {name} contains a {}",
            if value.is_array() { "list" } else { "map" }
        ))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any flat map that JSON can carry.
    pub(crate) fn any_map() -> impl Strategy<Value = OffsetMap> {
        let value = prop_oneof![
            Just(Primitive::Null),
            any::<bool>().prop_map(Primitive::from),
            any::<i64>().prop_map(Primitive::from),
            proptest::num::f64::NORMAL.prop_map(|value| Primitive::Float(value.to_bits())),
            any::<String>().prop_map(Primitive::from),
        ];
        proptest::collection::btree_map(any::<String>().prop_map(Arc::from), value, 0..4)
    }

    proptest! {
        #[test]
        fn any_partition_and_offset_come_back(connector: String, partition in any_map(), offset in any_map()) {
            let partition = Partition(partition);
            let key = decode_key(&encode_key(&connector, &partition)).unwrap();
            prop_assert_eq!(key, (Arc::from(connector), partition));
            prop_assert_eq!(decode_offset(&encode_offset(&offset)).unwrap(), offset);
        }
    }

    #[test]
    fn the_bytes_are_those_of_java() {
        let key = encode_key("orders-src", &Partition::of("filename", "in.txt"));
        assert_eq!(key, br#"["orders-src",{"filename":"in.txt"}]"#);
        assert_eq!(encode_offset(&OffsetMap::from([(Arc::from("position"), 8.into())])), br#"{"position":8}"#);
    }

    #[test]
    fn what_is_not_flat_is_refused_by_name() {
        let error = decode_offset(br#"{"a":[1]}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Offsets may only contain primitive types as values, but field a contains a list"
        );
        assert!(decode_offset(br#"{"a":18446744073709551615}"#).unwrap_err().to_string().contains("member a"));
        for key in ["[]", "[\"c\",null]", "[1,{}]", "{}", "[\"c\",{},1]", "["] {
            decode_key(key.as_bytes()).unwrap_err();
        }
    }
}
