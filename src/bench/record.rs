//! The records that every benchmark sends: a reading of a laboratory device, 720 bytes of JSON.
//!
//! Fifteen members, one of them an array of six objects, some text beyond ASCII. Record n is the same in every run, and
//! no two are alike, so that nothing compresses or caches them away. `pipette bench` writes them to its file; the proof
//! `beside_java` sends them with and without envelopes.

use std::fmt::Write as _;

/// Bytes of a record, without a newline.
pub const RECORD_BYTES: usize = 720;

/// What the schema of an envelope says of [`record`].
const SCHEMA: &str = concat!(
    r#"{"type":"struct","name":"io.pipette.bench.Reading","optional":false,"fields":["#,
    r#"{"field":"id","type":"string","optional":false},"#,
    r#"{"field":"device","type":"string","optional":false},"#,
    r#"{"field":"operator","type":"string","optional":false},"#,
    r#"{"field":"batch","type":"string","optional":false},"#,
    r#"{"field":"sequence","type":"int64","optional":false},"#,
    r#"{"field":"measured_at","type":"int64","optional":false},"#,
    r#"{"field":"temperature","type":"double","optional":false},"#,
    r#"{"field":"pressure","type":"double","optional":false},"#,
    r#"{"field":"acidity","type":"double","optional":false},"#,
    r#"{"field":"calibrated","type":"boolean","optional":false},"#,
    r#"{"field":"alarm","type":"string","optional":true},"#,
    r#"{"field":"unit","type":"string","optional":false},"#,
    r#"{"field":"checksum","type":"string","optional":false},"#,
    r#"{"field":"channels","type":"array","optional":false,"items":"#,
    r#"{"type":"struct","name":"io.pipette.bench.Channel","optional":false,"fields":["#,
    r#"{"field":"name","type":"string","optional":false},"#,
    r#"{"field":"value","type":"double","optional":false},"#,
    r#"{"field":"unit","type":"string","optional":false},"#,
    r#"{"field":"ok","type":"boolean","optional":false}]}},"#,
    r#"{"field":"comment","type":"string","optional":false}]}"#,
);

/// Record `n`.
pub fn record(n: u32) -> String {
    let mut numbers = Numbers(u64::from(n) + 1);
    let mut text = format!(
        r#"{{"id":"reading-{n:010}","device":"Bioreaktor Süd-{:02}","operator":"Łucja Żak","batch":"2026-{:04}-β""#,
        numbers.below(40),
        numbers.below(10_000),
    );
    let _ = write!(
        text,
        r#","sequence":{n},"measured_at":{},"temperature":{},"pressure":{},"acidity":{}"#,
        1_767_225_600_000 + u64::from(n),
        numbers.decimal(),
        numbers.decimal(),
        numbers.decimal(),
    );
    let calibrated = numbers.below(8) != 0;
    let checksum = numbers.below(u64::MAX);
    let _ = write!(text, r#","calibrated":{calibrated},"alarm":null,"unit":"µmol/l","checksum":"{checksum:016x}""#);
    text.push_str(r#","channels":["#);
    for channel in 1..=6 {
        let comma = if channel == 1 { "" } else { "," };
        let (value, ok) = (numbers.decimal(), numbers.below(8) != 0);
        let _ = write!(text, r#"{comma}{{"name":"channel {channel}","value":{value},"unit":"°C","ok":{ok}}}"#);
    }
    text.push_str(r#"],"comment":""#);
    while text.len() < RECORD_BYTES - 2 {
        text.push(numbers.letter());
    }
    text.push_str(r#""}"#);
    text
}

/// Record `n` in an envelope with its schema, as `schemas.enable=true` wants it.
pub fn envelope(n: u32) -> String {
    format!(r#"{{"schema":{SCHEMA},"payload":{}}}"#, record(n))
}

/// A linear congruence: cheap, and the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The low digits of a linear congruence hardly change.
        (self.0 >> 16) % limit
    }

    /// A number between 100 and 1000 with four digits behind the point.
    fn decimal(&mut self) -> String {
        format!("{}.{:04}", 100 + self.below(900), self.below(10_000))
    }

    fn letter(&mut self) -> char {
        u32::try_from(self.below(26)).ok().and_then(|n| char::from_u32(u32::from('a') + n)).unwrap_or(' ')
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_record_has_the_promised_shape() {
        for n in [0, 7, 999_999, u32::MAX] {
            let text = record(n);
            assert_eq!(text.len(), RECORD_BYTES, "{text}");
            assert!(!text.contains('\n') && !text.is_ascii());
            let value = parsed(&text);
            assert_eq!(value.as_object().unwrap().len(), 15);
            let arrays: Vec<_> = value.as_object().unwrap().values().filter_map(Value::as_array).collect();
            assert_eq!(arrays.len(), 1);
            assert_eq!(arrays[0].iter().filter(|item| item.is_object()).count(), 6);
            assert_eq!(arrays[0].len(), 6);
            assert!(value["comment"].as_str().unwrap().len() >= 5, "room for the longest numbers: {text}");
        }
    }

    #[test]
    fn records_are_the_same_in_every_run_and_differ_from_each_other() {
        assert_eq!(record(41), record(41));
        let (one, two) = (parsed(&record(1)), parsed(&record(2)));
        assert_ne!(one["comment"], two["comment"]);
        assert_ne!(one["channels"], two["channels"]);
    }

    #[test]
    fn an_envelope_describes_each_member_in_order() {
        let value = parsed(&envelope(3));
        assert_eq!(value["payload"], parsed(&record(3)));
        let told: Vec<_> = value["schema"]["fields"].as_array().unwrap().iter().map(|it| &it["field"]).collect();
        let there: Vec<_> = value["payload"].as_object().unwrap().keys().collect();
        assert_eq!(told, there);
    }
}
