//! Ready-made checks, in Java's wording, which tools show.

use std::collections::HashSet;

use super::key::FromText;

/// A whole number of at least `MIN`.
pub fn at_least<const MIN: i64>(text: Option<&str>) -> Result<(), String> {
    in_range::<MIN, { i64::MAX }>(text)
}

/// A whole number between `MIN` and `MAX`, both allowed.
pub fn in_range<const MIN: i64, const MAX: i64>(text: Option<&str>) -> Result<(), String> {
    // A text that is no number was refused by the type already; Java runs the check on the null it leaves behind.
    let Some(number) = text.and_then(|text| text.parse::<i64>().ok()) else {
        return Err("Value must be non-null".into());
    };
    if number < MIN {
        return Err(format!("Value must be at least {MIN}"));
    }
    if number > MAX {
        return Err(format!("Value must be no more than {MAX}"));
    }
    Ok(())
}

/// Text with something in it.
pub fn not_empty(text: Option<&str>) -> Result<(), String> {
    match text {
        Some("") => Err("String must be non-empty".into()),
        _ => Ok(()),
    }
}

/// A list without empty elements and without an element twice; it may be empty.
pub fn distinct(text: Option<&str>) -> Result<(), String> {
    let elements = Vec::<String>::from_text(text.unwrap_or_default())?;
    let mut seen = HashSet::with_capacity(elements.len());
    if !elements.iter().all(|element| seen.insert(element)) {
        return Err("values must not be duplicated".into());
    }
    if elements.iter().any(String::is_empty) {
        return Err("values must not be empty".into());
    }
    Ok(())
}

/// One of the values, in exactly this case. Called by a check of the plugin:
/// `fn mode(text: Option<&str>) -> Result<(), String> { one_of(text, &["rows", "lines"]) }`.
pub fn one_of(text: Option<&str>, allowed: &[&str]) -> Result<(), String> {
    match text {
        Some(text) if !allowed.contains(&text) => Err(format!("String must be one of: {}", allowed.join(", "))),
        _ => Ok(()),
    }
}

/// One of the values, in any case.
pub fn one_of_any_case(text: Option<&str>, allowed: &[&str]) -> Result<(), String> {
    match text {
        Some(text) if !allowed.iter().any(|value| value.eq_ignore_ascii_case(text)) => {
            Err(format!("String must be one of (case insensitive): {}", allowed.join(", ")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distinct_list_has_no_element_twice_and_none_empty() {
        for (text, expected) in [
            (None, Ok(())),
            (Some(""), Ok(())),
            (Some("a, b"), Ok(())),
            (Some("a,b, a"), Err("values must not be duplicated".to_owned())),
            (Some("a,,"), Err("values must not be duplicated".to_owned())),
            (Some("a,"), Err("values must not be empty".to_owned())),
        ] {
            assert_eq!(distinct(text), expected, "{text:?}");
        }
    }
}
