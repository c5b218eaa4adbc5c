//! What somebody may have meant who wrote a name that nobody knows.

/// The known name that is near enough to be meant, if there is one.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    within(name, known, |least| least / 2)
}

/// ` Did you mean X?` for a key, or nothing.
pub fn meant<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    near_key(key, known).map_or_else(String::new, |known| format!(". Did you mean {known}?"))
}

/// The known key that is meant: keys have so much in common with others that few letters may differ.
pub fn near_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    within(key, known, |least| 1 + least / 6)
}

/// The nearest one, if no more letters differ than may in texts of that length.
fn within<'a>(name: &str, known: impl Iterator<Item = &'a str>, most: fn(usize) -> usize) -> Option<&'a str> {
    let length = name.chars().count();
    let edits = |known: &'a str| {
        let most = most(length.min(known.len()));
        // A name may be as long as a request; known ones are short, and ASCII.
        let edits = Some(known.len()).filter(|other| other.abs_diff(length) <= most).map(|_| distance(name, known));
        edits.filter(|edits| *edits <= most).map(|edits| (edits, known))
    };
    known.filter_map(edits).min().map(|(_, known)| known)
}

/// How many letters must be put, taken, changed or swapped with their neighbour to make one text the other, case aside.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.to_lowercase().chars().collect();
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let (mut before, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=to.len()).collect());
    for (line, char) in from.iter().enumerate() {
        let mut next = vec![line + 1];
        for (column, other) in to.iter().enumerate() {
            let replaced = row[column] + usize::from(char != other);
            let mut least = replaced.min(row[column + 1] + 1).min(next[column] + 1);
            let swapped = line > 0 && column > 0 && from[line - 1] == *other && *char == to[column - 1];
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_key_is_meant() {
        let meant = |key: &str| meant(key, ["offset.flush.interval.ms", "topics", "tasks.max"].into_iter());
        assert_eq!(meant("offset.flush.intervall.ms"), ". Did you mean offset.flush.interval.ms?");
        assert_eq!(meant("topic"), ". Did you mean topics?");
        assert_eq!((meant("no.such.key"), meant("batch.size")), (String::new(), String::new()));
        assert_eq!(meant(&"topics".repeat(2_000_000)), "", "a key that fills a request takes no time");
    }

    #[test]
    fn letters_that_changed_places_are_one_slip() {
        let counted = [("feild", "field"), ("field", "field"), ("fild", "FIELD"), ("abcd", "dcba")];
        assert_eq!(counted.map(|(from, to)| distance(from, to)), [1, 0, 1, 3]);
        assert_eq!(near_key("feild", ["fields", "field"].into_iter()), Some("field"));
    }
}
