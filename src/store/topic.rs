//! Source offsets in a compacted Kafka topic, in the records of Apache's distributed worker, so that either can go on
//! where the other left off.
//!
//! Memory holds the last offset of each partition; the topic is read once, and again when a task that writes offsets
//! in transactions starts. `kafka/compacted.rs` talks to Kafka, `offset_json.rs` makes the bytes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pipette_api::{ConfigMap, OffsetMap, Partition, Result, async_trait};
use tokio::sync::OnceCell;

use super::{OffsetEntry, OffsetStore, offset_json};
use crate::kafka::compacted::{CompactedTopic, Place, Row};
use crate::kafka::properties;
use crate::settings::group::OffsetsTopic;

/// Told each row that is read: where it stands, its key and its value.
pub type EachRow = Box<dyn FnMut(Place, &[u8], Option<&[u8]>) + Send>;

/// Where the rows are. A test seam: production uses a topic of Kafka, the simulator a model of one.
#[async_trait]
pub trait Rows: Send + Sync {
    /// The topic's name.
    fn name(&self) -> &str;
    /// See [`CompactedTopic::ensure`].
    async fn ensure(&self, keys: &str) -> Result<()>;
    /// See [`CompactedTopic::read`].
    async fn read(&self, each: EachRow) -> Result<()>;
    /// See [`CompactedTopic::write`].
    async fn write(&self, rows: Vec<&Row>) -> Result<Vec<Place>>;
}

#[async_trait]
impl Rows for CompactedTopic {
    fn name(&self) -> &str {
        Self::name(self)
    }

    async fn ensure(&self, keys: &str) -> Result<()> {
        Self::ensure(self, keys, "offsets").await
    }

    async fn read(&self, each: EachRow) -> Result<()> {
        Self::read(self, each).await
    }

    async fn write(&self, rows: Vec<&Row>) -> Result<Vec<Place>> {
        Self::write(self, rows.into_iter()).await
    }
}

/// Offsets in a topic.
pub struct TopicOffsets {
    topic: Box<dyn Rows>,
    opened: OnceCell<()>,
    table: Arc<RwLock<Table>>,
}

/// What was read and written, by connector and partition.
#[derive(Debug, Default)]
struct Table(HashMap<Arc<str>, HashMap<Partition, Kept>>);

#[derive(Debug)]
struct Kept {
    /// Keys as they stand in the topic: to Kafka, another order of their members is another key. The last one is used.
    keys: Vec<Vec<u8>>,
    offset: OffsetMap,
    at: Place,
}

impl TopicOffsets {
    /// The topic of a worker. Kafka is not asked yet.
    pub fn new(worker: &ConfigMap, offsets: &OffsetsTopic) -> Result<Self> {
        let properties = properties::own(worker, &format!("{}-offsets", offsets.group))?;
        let topic = CompactedTopic::new(&offsets.topic.name, &properties, (&offsets.topic).into())?;
        Ok(Self::over(Box::new(topic)))
    }

    /// Offsets in these rows.
    pub fn over(topic: Box<dyn Rows>) -> Self {
        Self { topic, opened: OnceCell::new(), table: Arc::default() }
    }

    /// Makes the topic if it is missing and reads it, once. Everything else does this first.
    pub async fn open(&self) -> Result<()> {
        let open = async || {
            self.topic.ensure("offset.storage.*").await?;
            self.read().await
        };
        self.opened.get_or_try_init(open).await.copied()
    }

    /// Reads what was written since: by whoever wrote here before a task was fenced.
    pub async fn refresh(&self) -> Result<()> {
        self.open().await?;
        self.read().await
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        self.topic.name()
    }

    /// The rows that store these offsets, each with the index of its offset.
    pub fn rows(&self, connector: &str, offsets: &[OffsetEntry]) -> Vec<(usize, Row)> {
        let table = self.table();
        let rows = |(index, entry)| table.rows(connector, entry).into_iter().map(move |row| (index, row));
        offsets.iter().enumerate().flat_map(rows).collect()
    }

    /// The rows are in the topic: readers see their offsets from here on.
    pub fn note(&self, connector: &Arc<str>, offsets: &[OffsetEntry], rows: &[(usize, Row)], places: &[Place]) {
        let mut table = self.table_mut();
        for ((index, (key, _)), place) in rows.iter().zip(places) {
            let OffsetEntry { partition, offset } = &offsets[*index];
            table.note(connector, partition, key, offset.clone(), *place);
        }
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<()> {
        let table = Arc::clone(&self.table);
        let each = move |place, key: &[u8], value: Option<&[u8]>| {
            table.write().unwrap_or_else(PoisonError::into_inner).read(place, key, value);
        };
        self.topic.read(Box::new(each)).await
    }
}

impl Table {
    /// Takes in a row of the topic. What cannot be an offset is told in the log and left out, as in Apache's worker.
    fn read(&mut self, at: Place, key: &[u8], value: Option<&[u8]>) {
        let decoded = offset_json::decode_key(key);
        let value = value.map(offset_json::decode_offset).transpose();
        match (decoded, value) {
            (Ok((connector, partition)), Ok(offset)) => self.note(&connector, &partition, key, offset, at),
            (Err(error), _) if !offset_json::is_of_no_partition(key) => complain(key, &error),
            (Ok(_), Err(error)) => complain(key, &error),
            (Err(_), _) => {}
        }
    }

    /// The offset of a partition is this from here on, unless something newer is known.
    fn note(&mut self, connector: &Arc<str>, partition: &Partition, key: &[u8], offset: Option<OffsetMap>, at: Place) {
        let own = self.0.entry(Arc::clone(connector)).or_default();
        if let Some(kept) = own.get_mut(partition) {
            if kept.at.is_newer_than(at) {
                return;
            }
            let mut keys = std::mem::take(&mut kept.keys);
            keys.retain(|known| known != key);
            keys.push(key.to_vec());
            match offset {
                Some(offset) => *kept = Kept { keys, offset, at },
                None => drop(own.remove(partition)),
            }
        } else if let Some(offset) = offset {
            own.insert(partition.clone(), Kept { keys: vec![key.to_vec()], offset, at });
        }
    }

    /// The rows that store an offset, or take it away under every key it may have.
    fn rows(&self, connector: &str, entry: &OffsetEntry) -> Vec<Row> {
        let known = self.0.get(connector).and_then(|own| own.get(&*entry.partition));
        let fresh = || vec![offset_json::encode_key(connector, &entry.partition)];
        let keys = known.map_or_else(fresh, |kept| kept.keys.clone());
        match &entry.offset {
            None => keys.into_iter().map(|key| (key, None)).collect(),
            Some(offset) => {
                let value = offset_json::encode_offset(offset);
                keys.into_iter().last().map(|key| (key, Some(value))).into_iter().collect()
            }
        }
    }
}

fn complain(key: &[u8], error: &pipette_api::ConnectError) {
    let key = String::from_utf8_lossy(key);
    tracing::warn!(%key, error = %error.chain(), "A record of the offsets topic is no offset and is left out");
}

#[async_trait]
impl OffsetStore for TopicOffsets {
    async fn get(&self, connector: &str, partition: &Partition) -> Result<Option<OffsetMap>> {
        self.open().await?;
        let kept = |table: &Table| Some(table.0.get(connector)?.get(partition)?.offset.clone());
        Ok(kept(&self.table()))
    }

    async fn scan(&self, connector: &str) -> Result<Vec<(Partition, OffsetMap)>> {
        self.open().await?;
        let table = self.table();
        let own = table.0.get(connector).into_iter().flatten();
        Ok(own.map(|(partition, kept)| (partition.clone(), kept.offset.clone())).collect())
    }

    async fn put(&self, connector: &str, offsets: Vec<OffsetEntry>) -> Result<()> {
        self.open().await?;
        let connector: Arc<str> = connector.into();
        let rows = self.rows(&connector, &offsets);
        let places = self.topic.write(rows.iter().map(|(_, row)| row).collect()).await?;
        self.note(&connector, &offsets, &rows, &places);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::Primitive;

    use super::*;

    fn place(partition: i32, offset: i64, timestamp: i64) -> Place {
        Place { partition, offset, timestamp }
    }

    fn entry(partition: &Partition, position: Option<i64>) -> OffsetEntry {
        let offset = position.map(|position| OffsetMap::from([(Arc::from("position"), Primitive::Int(position))]));
        OffsetEntry { partition: Arc::new(partition.clone()), offset }
    }

    /// What a recorded worker of Apache 4.3.1 wrote, in order: two positions and the end of the offset.
    const RECORDED: [(&str, Option<&str>); 3] = [
        (r#"["src",{"filename":"/data/in.txt"}]"#, Some(r#"{"position":8}"#)),
        (r#"["src",{"filename":"/data/in.txt"}]"#, Some(r#"{"position":4}"#)),
        (r#"["src",{"filename":"/data/in.txt"}]"#, None),
    ];

    #[test]
    fn the_rows_are_those_of_apaches_worker() {
        let (table, partition) = (Table::default(), Partition::of("filename", "/data/in.txt"));
        for ((key, value), position) in RECORDED.iter().zip([Some(8), Some(4), None]) {
            let rows = table.rows("src", &entry(&partition, position));
            assert_eq!(rows, [(key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))]);
        }
    }

    #[test]
    fn a_recorded_topic_is_read_row_by_row() {
        let (mut table, partition) = (Table::default(), Partition::of("filename", "/data/in.txt"));
        let mut seen = Vec::new();
        for ((key, value), offset) in RECORDED.iter().zip(0..) {
            table.read(place(1, offset, 0), key.as_bytes(), value.map(str::as_bytes));
            seen.push(table.0["src"].get(&partition).map(|kept| kept.offset["position"].clone()));
        }
        assert_eq!(seen, [Some(Primitive::Int(8)), Some(Primitive::Int(4)), None]);
    }

    #[test]
    fn keys_are_written_as_they_were_read_and_all_of_them_are_taken_away() {
        let mut table = Table::default();
        let (first, second) = (br#"["c",{"b":1,"a":2}]"#, br#"["c",{"a":2,"b":1}]"#);
        table.read(place(7, 0, 10), first, Some(br#"{"n":1}"#));
        let partition = offset_json::decode_key(first).unwrap().1;
        assert_eq!(table.rows("c", &entry(&partition, Some(3)))[0].0, first, "not in the order we would write");
        table.read(place(9, 0, 5), second, Some(br#"{"n":2}"#));
        assert_eq!(table.0["c"][&partition].offset["n"], Primitive::Int(1), "the later one counts");
        table.read(place(9, 1, 11), second, Some(br#"{"n":3}"#));
        assert_eq!(table.0["c"][&partition].offset["n"], Primitive::Int(3));
        let gone: Vec<Vec<u8>> = table.rows("c", &entry(&partition, None)).into_iter().map(|row| row.0).collect();
        assert_eq!(gone, [first.to_vec(), second.to_vec()]);
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut table = Table::default();
        let key = br#"["c",{"a":1}]"#;
        let partition = offset_json::decode_key(key).unwrap().1;
        table.note(&"c".into(), &partition, key, entry(&partition, Some(5)).offset, place(0, 5, 0));
        table.read(place(0, 4, 9), key, Some(br#"{"position":4}"#));
        assert_eq!(table.0["c"][&partition].offset["position"], Primitive::Int(5));
    }

    #[test]
    fn what_is_no_offset_is_left_out() {
        let mut table = Table::default();
        for (key, value) in [("[\"c\",null]", "{}"), ("no json", "{}"), ("[\"c\",{}]", "[1]"), ("", "{}")] {
            table.read(place(0, 0, 0), key.as_bytes(), Some(value.as_bytes()));
        }
        assert!(table.0.values().all(HashMap::is_empty));
    }
}
