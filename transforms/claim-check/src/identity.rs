//! What a value is told by: the same after a restart when the source says where it read it, so that what is sent again is
//! known as such. Ids of values that travel in pieces, used by `chunk.rs` and `split.rs`; names of objects, used by
//! `claim_check.rs`.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use pipette_api::{OffsetMap, Position, Primitive};
use pipette_store::chunk::ChunkId;

/// Source partitions whose last offset is known at a time.
const PARTITIONS: usize = 4_096;

/// Gives ids. One per task.
pub(crate) struct Ids {
    connector: Arc<str>,
    by_position: bool,
    ordinals: Ordinals,
}

impl Ids {
    pub(crate) fn new(connector: Arc<str>, by_position: bool) -> Self {
        Self { connector, by_position, ordinals: Ordinals::default() }
    }

    /// The id of the next value.
    pub(crate) fn next(&mut self, position: Option<&Position>) -> ChunkId {
        let Some(position) = position.filter(|_| self.by_position) else { return ChunkId::random() };
        let ordinal = self.ordinals.next(position);
        let (partition, offset) = texts(position);
        ChunkId::of_position(&self.connector, &partition, &offset, ordinal)
    }
}

/// Counts the values of a position: a source may use one for several.
#[derive(Default)]
pub(crate) struct Ordinals {
    /// The last offset of a partition, and how many values have had it before.
    last: HashMap<String, (String, u64)>,
    /// The partitions above, the oldest first.
    order: VecDeque<String>,
}

impl Ordinals {
    /// How many values before this one had its position, which is that of the latest in its partition or a new one.
    pub(crate) fn next(&mut self, position: &Position) -> u64 {
        let (partition, offset) = texts(position);
        if let Some((last, ordinal)) = self.last.get_mut(&partition) {
            if *last == offset {
                *ordinal += 1;
            } else {
                (*last, *ordinal) = (offset, 0);
            }
            return *ordinal;
        }
        if self.order.len() >= PARTITIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
        self.order.push_back(partition.clone());
        self.last.insert(partition, (offset, 0));
        0
    }
}

/// The source partition and the offset in it, as texts that tell them apart.
pub(crate) fn texts(position: &Position) -> (String, String) {
    (text(&position.partition.0), text(&position.render()))
}

/// Tells maps apart, and is the same in every version of the worker: ids depend on it.
fn text(map: &OffsetMap) -> String {
    let mut text = String::new();
    for (name, value) in map {
        let _ = write!(text, "{}:{name}=", name.len());
        let _ = match value {
            Primitive::Null => write!(text, "n;"),
            Primitive::Bool(value) => write!(text, "b{value};"),
            Primitive::Int(value) => write!(text, "i{value};"),
            Primitive::Float(bits) => write!(text, "f{bits};"),
            Primitive::Text(value) => write!(text, "t{}:{value};", value.len()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use pipette_api::{OffsetShape, Partition};

    use super::*;

    fn at(file: &str, mark: i64) -> Position {
        Position {
            partition: Arc::new(Partition::of("file", file)),
            shape: Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() }),
            marks: [mark, 0],
        }
    }

    fn ids() -> Ids {
        Ids::new("lab".into(), true)
    }

    #[test]
    fn a_position_has_the_same_id_after_a_restart_and_its_values_are_told_apart() {
        let read = |ids: &mut Ids| {
            let positions = [at("a", 1), at("b", 1), at("a", 1), at("b", 2), at("a", 2)];
            positions.iter().map(|position| ids.next(Some(position))).collect::<Vec<_>>()
        };
        let first = read(&mut ids());
        assert_eq!(first, read(&mut ids()));
        for (index, id) in first.iter().enumerate() {
            assert!(!first[..index].contains(id), "{index}");
        }
    }

    #[test]
    fn without_a_position_or_by_choice_ids_are_random() {
        let mut ids = ids();
        assert_ne!(ids.next(None), ids.next(None));
        let again = || Ids::new("lab".into(), false).next(Some(&at("a", 1)));
        assert_ne!(again(), again());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut ids = ids();
        for file in 0..5_000 {
            ids.next(Some(&at(&file.to_string(), 1)));
        }
        assert_eq!((ids.ordinals.last.len(), ids.ordinals.order.len()), (PARTITIONS, PARTITIONS));
    }
}
