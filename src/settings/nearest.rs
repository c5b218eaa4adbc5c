//! What somebody may have meant who wrote a name that nobody knows.

/// The known name that is near enough to be meant, if there is one.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.map(|known| (distance(name, known), known)).min();
    nearest.filter(|(edits, known)| *edits <= known.len().min(name.len()) / 2).map(|(_, known)| known)
}

/// ` Did you mean X?` for a key, which has so much in common with others that few letters may differ; or nothing.
pub fn meant<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|known| (distance(key, known), known)).min();
    match near {
        Some((edits, known)) if edits <= 1 + key.len().min(known.len()) / 6 => format!(". Did you mean {known}?"),
        _ => String::new(),
    }
}

/// How many letters must change to make one text the other, case aside.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, char) in from.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(char != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
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
    }
}
