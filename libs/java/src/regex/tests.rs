//! What Java 17 answers for each pattern and name, recorded from it.

use super::JavaRegex;

fn matching<'a>(java: &str, names: &[&'a str]) -> Vec<&'a str> {
    let regex = JavaRegex::new(java).unwrap_or_else(|reason| panic!("{java}: {reason}"));
    names.iter().copied().filter(|name| regex.matches(name)).collect()
}

#[test]
fn matches_what_java_matches() {
    let names = ["a", "b", "c", "d", "]", "-", ":", "_", "5", "٣", "é", "A", ".", "&", "~", "a-v1", "ab"];
    let cases: &[(&str, &[&str])] = &[
        ("a|ab", &["a", "ab"]),
        ("(.*)-v(\\d+)", &["a-v1"]),
        ("\\d", &["5"]),
        ("\\w", &["a", "b", "c", "d", "_", "5", "A"]),
        ("[^\\W\\d_]", &["a", "b", "c", "d", "A"]),
        ("[^a[b]]", &["c", "d", "]", "-", ":", "_", "5", "٣", "é", "A", ".", "&", "~"]),
        ("[a-c&&[b-d]]", &["b", "c"]),
        ("[a-c&&b-d]", &["b", "c"]),
        ("[]a]", &["a", "]"]),
        ("[a-]", &["a", "-"]),
        ("[-a]", &["a", "-"]),
        ("[+--]", &["-"]),
        ("[a~~b]", &["a", "b", "~"]),
        ("[a&b]", &["a", "b", "&"]),
        ("[[:alpha:]]", &["a", ":"]),
        ("\\p{Lower}", &["a", "b", "c", "d"]),
        ("\\p{Punct}", &["]", "-", ":", "_", ".", "&", "~"]),
        ("\\pL", &["a", "b", "c", "d", "é", "A"]),
        ("\\P{Alnum}", &["]", "-", ":", "_", "٣", "é", ".", "&", "~"]),
        ("\\p{IsLatin}", &["a", "b", "c", "d", "é", "A"]),
        ("\\Qa-v\\E1", &["a-v1"]),
        ("\\Q.\\E", &["."]),
        ("\\x61|\\u0062|\\x{63}|\\0144", &["a", "b", "c", "d"]),
        ("(?i)A", &["a", "A"]),
        ("(?i:A)b", &["ab"]),
        ("(?d)a(?u:b)", &["ab"]),
        ("(?<x>a)b?", &["a", "ab"]),
        ("a{1}b{0,2}", &["a", "ab"]),
        ("a??b*?", &["a", "b", "ab"]),
        ("\\_", &["_"]),
        ("^a$", &["a"]),
        ("a}", &[]),
    ];
    for (java, expected) in cases {
        assert_eq!(matching(java, &names), *expected, "{java}");
    }
}

#[test]
fn refuses_with_a_reason() {
    let cases = [
        ("(?!x)a", "lookahead"),
        ("(?<=x)a", "lookbehind"),
        ("(a)\\1", "back references"),
        ("(?<n>a)\\k<n>", "back references"),
        ("a*+", "possessive"),
        ("a{2}+", "possessive"),
        ("(?>a)", "atomic"),
        ("(?x) a", "the flag x"),
        ("(?P<n>x)", "Unknown inline modifier"),
        ("a**", "Dangling meta character '*'"),
        ("a|*", "Dangling meta character '*'"),
        ("*.log", "Dangling meta character '*'"),
        ("a{,3}", "Illegal repetition"),
        ("{", "Illegal repetition"),
        ("a{2}{3}", "Illegal repetition"),
        ("a)(b", "Unmatched closing ')'"),
        ("(a", "Unclosed group"),
        ("[a", "Unclosed character class"),
        ("[a--b]", "Illegal character range"),
        ("[a-\\d]", "Illegal character range"),
        ("[b-a]", "Illegal character range"),
        ("[a&&]", "both sides"),
        ("\\y", "Illegal/unsupported escape sequence"),
        ("\\b{g}", "not supported"),
        ("\\p{InGreek}", "not supported"),
        ("\\p{IsKlingon}", "Unicode property"),
        ("a\\", "backslash at the end"),
        ("((a{1000}){1000}){1000}", "size limit"),
    ];
    for (java, reason) in cases {
        let error = JavaRegex::new(java).err().unwrap_or_else(|| panic!("{java} was accepted"));
        assert!(error.starts_with("Invalid regex: ") && error.contains(reason), "{java}: {error}");
    }
    assert!(JavaRegex::new(&"[".repeat(100_000)).is_err(), "depth is bounded");
}
