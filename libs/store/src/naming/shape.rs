//! Whether a name can have been made by a pattern: for whoever takes objects away and must not touch what others put there.

use super::{LONGEST_PART, Origin, clean};
use crate::compression::Compression;

/// Whether the pattern can have given this name, with what compression puts behind it.
pub(super) fn fits(pattern: &str, origin: &Origin, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once("${") else {
        let end = name.strip_prefix(pattern);
        return end.is_some_and(|end| end.is_empty() || Compression::ALL.iter().any(|one| one.suffix() == end));
    };
    let (Some(name), Some((word, behind))) = (name.strip_prefix(before), rest.split_once('}')) else { return false };
    // What stands for a word is ASCII, so that every length up to the first other character is a boundary.
    let most = name.bytes().take(LONGEST_PART).position(|byte| !is_plain(byte)).unwrap_or(name.len().min(LONGEST_PART));
    (1..=most).rev().any(|length| stands_for(word, &name[..length], origin) && fits(behind, origin, &name[length..]))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-=".contains(&byte)
}

fn stands_for(word: &str, text: &str, origin: &Origin) -> bool {
    let hex = |digits: &str, length: usize| {
        digits.len() == length && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts = |lengths: &[usize]| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.len() == lengths.len() && parts.iter().zip(lengths).all(|(part, length)| hex(part, *length))
    };
    match word {
        "topic" => text == clean(origin.topic),
        "connector" => text == clean(origin.connector),
        "date" => parts(&[4, 2, 2]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()),
        "sha256" => hex(text, 64),
        "position" => hex(text, 32),
        "uuid" => parts(&[8, 4, 4, 4, 12]),
        // A field or the name of a file: whatever `clean` makes of it.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::naming::{Naming, Strategy};

    use super::*;

    const SHA: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

    fn may(strategy: Strategy, name: &str) -> bool {
        let origin = Origin { topic: "images", connector: "lab", ..Origin::default() };
        Naming::new("", strategy).unwrap().may_have_made(&origin, name)
    }

    #[test]
    fn only_names_that_were_made_here_are_ours() {
        for name in [
            format!("2026-11-26/{SHA}"),
            format!("2026-11-26/{SHA}.gz"),
            format!("2026-11-26/{}", &SHA[..32]),
            "2026-11-26/01939d3c-7a00-7000-8000-0123456789ab.zst".to_owned(),
        ] {
            assert!(may(Strategy::Content, &name) && may(Strategy::Uuid, &name), "{name}");
        }
        for name in [
            "report.pdf".to_owned(),
            SHA.to_owned(),
            format!("2026-11-26/{SHA}.png"),
            format!("2026-11-26/{}", &SHA[1..]),
            format!("2026-11-26/x/{SHA}"),
            format!("2026-11-26/{}", SHA.to_uppercase()),
            "2026-11-26/ü".to_owned(),
            String::new(),
        ] {
            assert!(!may(Strategy::Content, &name), "{name}");
        }
    }

    #[test]
    fn a_pattern_knows_its_own_names() {
        let pattern = || Strategy::Template("${topic}/${name}-${sha256}".into());
        assert!(may(pattern(), &format!("images/a-b.png-{SHA}")));
        assert!(may(pattern(), &format!("images/{SHA}-{SHA}.gz")));
        assert!(!may(pattern(), &format!("other/a.png-{SHA}")), "another topic's");
        assert!(!may(pattern(), &format!("images/a/b.png-{SHA}")));
        assert!(!may(pattern(), &format!("2026-11-26/{SHA}")), "not what the pattern says");
        for (pattern, again) in [("${sha256}", true), ("${date}/${sha256}", false), ("${name}-${uuid}", false)] {
            let naming = Naming::new("", Strategy::Template(pattern.into())).unwrap();
            assert_eq!(naming.is_used_again(), again, "{pattern}");
        }
    }
}
