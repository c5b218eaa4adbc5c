//! Java's `.properties` format, for worker and connector files written for Apache's worker.
//!
//! Called by `file.rs`. UTF-8; a file that is no UTF-8 is read as Latin-1, as older Java did.

use pipette_api::{ConfigMap, ConnectError, Result};

/// The keys and values of a file. The last of equal keys wins.
pub fn parse(bytes: &[u8]) -> Result<ConfigMap> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let mut config = ConfigMap::new();
    for (number, line) in logical_lines(&text) {
        let (key, value) = split(&line);
        let at = |error: String| ConnectError::config(format!("line {number}: {error}"));
        config.insert(unescape(key).map_err(at)?, unescape(value).map_err(at)?);
    }
    Ok(config)
}

/// Lines without comments, continuations joined, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        if !goes_on && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let slashes = line.len() - line.trim_end_matches('\\').len();
        let part = if slashes % 2 == 1 { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, last)) if goes_on => last.push_str(part),
            _ => lines.push((index + 1, part.to_owned())),
        }
        goes_on = slashes % 2 == 1;
    }
    lines
}

/// The key ends at the first `=`, `:` or blank without a backslash; one `=` or `:` may stand among the blanks behind it.
fn split(line: &str) -> (&str, &str) {
    const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];
    let mut escaped = false;
    for (at, char) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if char == '\\' {
            escaped = true;
        } else if matches!(char, '=' | ':') || BLANKS.contains(&char) {
            let rest = line[at..].trim_start_matches(BLANKS);
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start_matches(BLANKS));
        }
    }
    (line, "")
}

fn unescape(text: &str) -> std::result::Result<String, String> {
    // UTF-16 units, because Java writes a character beyond U+FFFF as two escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            units.extend(char.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        match chars.next().unwrap_or('\\') {
            't' => units.push(9),
            'n' => units.push(10),
            'f' => units.push(12),
            'r' => units.push(13),
            'u' => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                units.push(unit.ok_or_else(|| format!("\\u{digits} is not \\u and four hexadecimal digits"))?);
            }
            other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let found = parse(text.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn reads_what_java_reads() {
        check("a=1\nb: 2\nc 3\n  d  =  4  \n", &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4  ")]);
        check("# no\n ! no\n\na=b=c\r\nflag", &[("a", "b=c"), ("flag", "")]);
        check("list=a,\\\n    b,\\\n  c\nx=1", &[("list", "a,b,c"), ("x", "1")]);
        check("path=C:\\\\temp\\\\\nx=1", &[("path", "C:\\temp\\"), ("x", "1")]);
        check("k\\ e\\=y=\\u00e9\\t\\uD83D\\uDE00\\q", &[("k e=y", "é\t😀q")]);
        check("a=1\na=2", &[("a", "2")]);
        check("=v", &[("", "v")]);
    }

    #[test]
    fn other_encodings_and_bad_escapes() {
        assert_eq!(parse(b"a=\xe9").unwrap()["a"], "é", "Latin-1");
        assert_eq!(parse("\u{feff}a=é".as_bytes()).unwrap()["a"], "é");
        let error = parse(b"a=1\nb=\\u12x4").unwrap_err().to_string();
        assert_eq!(error, "line 2: \\u12x4 is not \\u and four hexadecimal digits");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
