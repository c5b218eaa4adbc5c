//! What a sink's file must be when its worker died again and again: pieces of the topic, one for each life, each from
//! behind what was committed and none beyond what had come.

/// A row as its file and number in it.
pub(super) type Row = (usize, usize);

/// What one life of the worker wrote.
pub(super) struct Life {
    /// The offset that was committed when it began.
    pub(super) committed: usize,
    pub(super) rows: Vec<Row>,
}

/// What a death cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Repeat {
    /// Records that came again.
    pub(super) repeated: usize,
    /// Records that had come, and whose offset was not committed: no more may come again.
    pub(super) uncommitted: usize,
}

impl Repeat {
    pub(super) fn add(&mut self, repeated: usize, uncommitted: usize) {
        assert!(repeated <= uncommitted, "{repeated} came again, {uncommitted} were not committed");
        self.repeated += repeated;
        self.uncommitted += uncommitted;
    }
}

/// How many records each life had to write again. An error says which life began before the committed offset, left
/// something out or wrote what the topic does not have there.
pub(super) fn repeats(topic: &[Row], lives: &[Life]) -> Result<Vec<Repeat>, String> {
    let mut reached = 0;
    let mut repeats = Vec::new();
    for (number, life) in lives.iter().enumerate() {
        if life.rows.is_empty() {
            repeats.push(Repeat::default());
            continue;
        }
        let fits = |begin: &usize| topic[*begin..].starts_with(&life.rows);
        let begin = (life.committed..=reached).rev().find(fits).ok_or_else(|| {
            let (committed, len, first) = (life.committed, life.rows.len(), life.rows[0]);
            format!(
                "life {number} wrote {len} rows from {first:?} on, which are not those of the topic from any offset \
                 between {committed}, where it was committed, and {reached}, where the file had come"
            )
        })?;
        repeats.push(Repeat { repeated: reached - begin, uncommitted: reached - life.committed });
        reached = begin + life.rows.len();
    }
    match topic.len() - reached {
        0 => Ok(repeats),
        missing => Err(format!("the last {missing} records of the topic are missing")),
    }
}

/// A topic in which a source repeated rows 2 and 3.
#[cfg(test)]
const TOPIC: [Row; 8] = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 2), (0, 3), (0, 4), (0, 5)];

#[cfg(test)]
fn check(lives: &[(usize, std::ops::Range<usize>)]) -> Result<Vec<[usize; 2]>, String> {
    let life = |(committed, rows): &(usize, std::ops::Range<usize>)| Life {
        committed: *committed,
        rows: TOPIC[rows.clone()].to_vec(),
    };
    let repeats = repeats(&TOPIC, &lives.iter().map(life).collect::<Vec<_>>())?;
    Ok(repeats.iter().map(|repeat| [repeat.repeated, repeat.uncommitted]).collect())
}

#[test]
fn lives_that_go_on_from_a_commit_are_fine() {
    assert_eq!(check(&[(0, 0..8)]), Ok(vec![[0, 0]]));
    assert_eq!(check(&[(0, 0..3), (1, 1..5), (1, 0..0), (4, 5..8)]), Ok(vec![[0, 0], [2, 2], [0, 0], [0, 1]]));
}

#[test]
fn a_life_that_repeats_too_much_or_leaves_out_is_seen() {
    let error = check(&[(0, 0..5), (2, 1..8)]).unwrap_err();
    assert!(error.starts_with("life 1 wrote 7 rows from (0, 1) on"), "{error}");
    assert!(check(&[(0, 0..1), (0, 2..8)]).is_err(), "record 1 was left out");
    assert!(check(&[(0, 0..1), (0, 1..7)]).unwrap_err().contains("the last 1 records"));
    let swapped = Life { committed: 0, rows: vec![(0, 1), (0, 0)] };
    assert!(repeats(&TOPIC, &[swapped]).is_err());
}
