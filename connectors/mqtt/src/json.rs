//! A payload in JSON as a value that says the same, or the reason why there is none.
//!
//! Java's converter, and our reader with it, cuts an integer to 64 bits, takes a number beyond a double for infinite and has
//! a place holder for half a character: a gauge would show another reading, and nobody would know. From a device such a
//! payload is bad input. `mapping.rs` and `sparkplug/` call it. Read next: `mapping.rs`.

use pipette_api::{Blob, ConnectError, Result, Value};
use pipette_json::Document;

/// Of a number in an error.
const SHOWN: usize = 40;

/// The value of a whole payload; a data error when it is no JSON, or when no value says what it does. A number with a
/// fraction is the nearest double, as everywhere.
pub(crate) fn read(payload: &Blob) -> Result<Value> {
    let value = pipette_json::parse(payload)?;
    match loss(Document::new(payload)?.text().as_bytes()) {
        None => Ok(value),
        Some((at, what)) => Err(ConnectError::data(format!(
            "the JSON cannot be kept as it is: at byte {at} {what}. Have it sent as a string, or take the payload as it is \
             with mqtt.value.format=string or bytes"
        ))),
    }
}

/// What of a text that is JSON is in no value, and where it stands.
fn loss(text: &[u8]) -> Option<(usize, String)> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => match string(text, at + 1) {
                Ok(end) => at = end,
                Err(at) => return Some((at, "is half of a surrogate pair, which is no character".into())),
            },
            b'-' | b'0'..=b'9' => {
                let rest = &text[at..];
                let end = rest.iter().position(|byte| !b"+-.eE0123456789".contains(byte)).unwrap_or(rest.len());
                if let Some(reason) = std::str::from_utf8(&rest[..end]).ok().and_then(number) {
                    return Some((at, reason));
                }
                at += end;
            }
            _ => at += 1,
        }
    }
    None
}

fn number(text: &str) -> Option<String> {
    let shown = || format!("{}{}", &text[..text.len().min(SHOWN)], if text.len() > SHOWN { "…" } else { "" });
    if text.contains(['.', 'e', 'E']) {
        let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
        return (!is_finite).then(|| format!("is the number {}, which is beyond what a double holds", shown()));
    }
    let fits = text.parse::<i64>().is_ok();
    (!fits).then(|| format!("is the integer {}, which is beyond 64 bits", shown()))
}

/// Where a string ends whose first byte is at `at`, or where half of a pair stands in it.
fn string(text: &[u8], mut at: usize) -> std::result::Result<usize, usize> {
    while let Some(length) = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        at += length;
        if text[at] == b'"' {
            return Ok(at + 1);
        }
        at += match (unit(text, at), unit(text, at + 6)) {
            (None, _) => 2,
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => return Err(at),
            (Some(_), _) => 6,
        };
    }
    Ok(text.len())
}

/// The UTF-16 unit of an escape.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(text: &str) -> Blob {
        Blob::whole(text.to_owned()).unwrap()
    }

    #[test]
    fn what_no_value_holds_is_bad_input_and_is_named() {
        for (text, reason) in [
            ("9223372036854775808", "at byte 0 is the integer 9223372036854775808, which is beyond 64 bits"),
            (r#"{"a":[1,-9223372036854775809]}"#, "at byte 8 is the integer -9223372036854775809"),
            ("1e999", "is the number 1e999, which is beyond what a double holds"),
            (r#"{"t":-1.5E400 }"#, "at byte 5 is the number -1.5E400"),
            (r#"["\ud83d"]"#, "at byte 2 is half of a surrogate pair"),
            (r#"["\ud83dx"]"#, "at byte 2 is half of a surrogate pair"),
            (r#"{"a":"\ude00"}"#, "at byte 6 is half of a surrogate pair"),
            (r#"{"\ud83d\u0041":1}"#, "at byte 2 is half of a surrogate pair"),
        ] {
            let error = read(&blob(text)).unwrap_err();
            assert_eq!(error.kind(), pipette_api::ErrorKind::Data, "{text}");
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
        let long = read(&blob(&"9".repeat(900))).unwrap_err().to_string();
        assert!(long.len() < 300 && long.contains("999…"), "{long}");
    }

    #[test]
    fn everything_else_is_read_as_it_stands() {
        for text in [
            "[9223372036854775807,-9223372036854775808,0,-0,1e308,1e-400,0.1,12345678901234567890.5]",
            r#"{"a\\ud83d":"\\ud83d 99999999999999999999 1e999","b":"\ud83d\ude00 \u00e9 \" 1e999"}"#,
            "\"99999999999999999999\"",
            "true",
        ] {
            assert_eq!(read(&blob(text)).unwrap(), pipette_json::parse(&blob(text)).unwrap(), "{text}");
        }
    }
}
