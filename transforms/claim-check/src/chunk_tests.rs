use std::sync::Mutex;

use bytes::Bytes;
use pipette_api::{ErrorKind, Payload, PayloadReader};
use pipette_store::Digest;

use super::*;
use crate::trial::{at, bytes, errors, expander, header, noise, record, value};

/// A payload that is away for a while whenever it has given a block.
#[derive(Debug)]
struct Shaky {
    bytes: Vec<u8>,
    len: Option<u64>,
    opened: Mutex<Vec<u64>>,
    most: usize,
}

impl Shaky {
    fn of(bytes: Vec<u8>, len: Option<u64>) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { bytes, len, opened: Mutex::default(), most: 700 })
    }
}

#[async_trait]
impl Payload for Shaky {
    fn len(&self) -> Option<u64> {
        self.len
    }

    async fn open(&self, start: u64, _: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        self.opened.lock().unwrap().push(start);
        let rest = self.bytes[usize::try_from(start).unwrap()..].to_vec();
        let end = rest.len() <= self.most;
        Ok(Box::new(Once(
            Some(Bytes::from(rest).slice(..self.most.min(self.bytes.len() - usize::try_from(start).unwrap()))),
            end,
        )))
    }
}

struct Once(Option<Bytes>, bool);

#[async_trait]
impl PayloadReader for Once {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.0.take() {
            Some(bytes) if !bytes.is_empty() => Ok(Some(bytes)),
            _ if self.1 => Ok(None),
            _ => Err(ConnectError::retriable("the share is away")),
        }
    }
}

#[test]
fn a_payload_is_pulled_piece_by_piece_and_goes_on_where_it_was() {
    for len in [Some(5_000), None] {
        let all = noise(5_000, 1);
        let shaky = Shaky::of(all.clone(), len);
        let mut chunk = expander(&PLUGIN, &[("chunk.bytes", "1024")]);
        let like = EncodedRecord {
            headers: vec![("file.name".into(), Some(Blob::whole("a.tif").unwrap()))],
            timestamp: Some(7),
            ..record(Body::Payload(std::sync::Arc::clone(&shaky) as _))
        };
        chunk.step.begin(like, Some(&at("a", 1))).unwrap();
        let (mut pieces, mut away) = (Vec::new(), 0);
        loop {
            match chunk.bench.run("next", chunk.step.next()).unwrap() {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Retriable => away += 1,
                Err(error) => panic!("{error}"),
            }
            let read = *shaky.opened.lock().unwrap().last().unwrap();
            let sent = pieces.len() as u64 * 1024;
            assert!(read <= sent + 1024 + 700, "{read} bytes were read and {sent} sent");
        }
        assert_eq!((pieces.len(), away), (5, 7), "a block each time");
        let id = ChunkId::of_position("kit", "4:file=t1:a;", "2:at=i1;", 0).to_string();
        for (index, piece) in pieces.iter().enumerate() {
            let body = value(piece.value.as_ref());
            assert_eq!(body, all[index * 1024..all.len().min((index + 1) * 1024)]);
            assert_eq!(piece.key.as_ref().unwrap().as_bytes(), id.as_bytes(), "all reach one partition");
            assert_eq!((header(piece, "file.name").as_deref(), piece.timestamp), (Some("a.tif"), Some(7)));
            let last = index == 4;
            let count = if len.is_some() || last { "5" } else { "0" };
            let expected = [
                ("chunk-v", Some("1".to_owned())),
                ("chunk-id", Some(id.clone())),
                ("chunk-index", Some(index.to_string())),
                ("chunk-count", Some(count.to_owned())),
                ("chunk-offset", Some((index * 1024).to_string())),
                ("chunk-total", (len.is_some() || last).then(|| "5000".to_owned())),
                ("chunk-crc32c", Some(format!("{:08x}", chunk::Chunk::crc_of(&body)))),
                ("chunk-digest", last.then(|| Digest::of(&all).to_string())),
            ];
            for (name, text) in expected {
                assert_eq!(header(piece, name), text, "{name} of piece {index}");
            }
        }
    }
}

#[test]
fn what_fits_goes_on_as_it_is() {
    let mut chunk = expander(&PLUGIN, &[("chunk.bytes", "1024")]);
    assert!(!chunk.step.needs("t", Some(1024)) && chunk.step.needs("t", Some(1025)) && chunk.step.needs("t", None));
    assert!(!chunk.step.takes_compacted());
    assert!(expander(&PLUGIN, &[("allow.compacted", "true")]).step.takes_compacted());
    // Nobody knew its size before it was read.
    let pieces = chunk.all(record(Body::Payload(Shaky::of(noise(600, 1), None))), None).unwrap();
    let [piece] = &pieces[..] else { panic!("{pieces:?}") };
    assert_eq!((piece.headers.len(), &piece.key), (0, &None));
    assert_eq!(value(piece.value.as_ref()), noise(600, 1));
}

#[test]
fn a_key_and_a_partition_stay_and_ids_can_be_random() {
    let mut chunk = expander(&PLUGIN, &[("chunk.bytes", "1024"), ("id", "random"), ("checksum", "none")]);
    let keyed = EncodedRecord { key: Some(Blob::whole("k").unwrap()), ..record(bytes(noise(3_000, 1))) };
    let first = chunk.all(keyed.clone(), Some(&at("a", 1))).unwrap();
    assert!(first.iter().all(|piece| piece.key == keyed.key));
    assert_eq!(header(&first[2], "chunk-digest"), None);
    assert_eq!(header(&first[2], "chunk-crc32c"), None);
    let again = chunk.all(keyed, Some(&at("a", 1))).unwrap();
    assert_ne!(header(&first[0], "chunk-id"), header(&again[0], "chunk-id"));
    let placed = EncodedRecord { partition: Some(3), ..record(bytes(noise(3_000, 1))) };
    let pieces = chunk.all(placed, None).unwrap();
    assert!(pieces.iter().all(|piece| piece.partition == Some(3) && piece.key.is_none()));
}

#[test]
fn linkedins_form_is_written_where_it_can_say_it() {
    let mut chunk = expander(&PLUGIN, &[("chunk.bytes", "1024"), ("format", "linkedin")]);
    let pieces = chunk.all(record(bytes(noise(3_000, 1))), Some(&at("a", 1))).unwrap();
    for (index, piece) in (0..).zip(&pieces) {
        let (format, chunk) = chunk::Chunk::read(&piece.headers).unwrap().unwrap();
        assert_eq!((format, chunk.index, chunk.count, chunk.total), (Format::LinkedIn, index, Some(3), Some(3_000)));
        assert_eq!((piece.headers.len(), piece.key.as_ref().unwrap().as_bytes()), (1, &chunk.id.0[..]));
    }
    let shaky = Shaky { bytes: noise(3_000, 1), len: None, opened: Mutex::default(), most: 9_999 };
    let unknown = chunk.all(record(Body::Payload(std::sync::Arc::new(shaky))), None).unwrap_err();
    assert!(unknown.kind() == ErrorKind::Data && unknown.to_string().contains("use format=native"), "{unknown}");
}

#[test]
fn what_cannot_be_cut_is_a_bad_record() {
    let mut chunk = expander(&PLUGIN, &[("chunk.bytes", "1024"), ("max.payload.bytes", "2000")]);
    let large = |len| record(Body::Payload(Shaky::of(noise(2_001, 1), len)));
    let piece = chunk.all(record(bytes(noise(1_500, 1))), None).unwrap().remove(0);
    let short = record(Body::Payload(Shaky::of(noise(600, 1), Some(1_900))));
    let tombstone = EncodedRecord { value: None, ..piece.clone() };
    for (bad, why) in [
        (large(Some(2_001)), "larger than max.payload.bytes (2000)"),
        (large(None), "larger than max.payload.bytes (2000)"),
        (piece, "a piece of a large value already"),
        (short, "ended after 600"),
        (EncodedRecord { headers: Vec::new(), ..tombstone }, "tombstone"),
    ] {
        chunk.step.begin(bad.clone(), None).err().map_or_else(
            || loop {
                match chunk.bench.run("next", chunk.step.next()).unwrap() {
                    Err(error) if error.kind() == ErrorKind::Data => {
                        return assert!(error.to_string().contains(why), "{error}");
                    }
                    Err(_) | Ok(Some(_)) => {}
                    Ok(None) => panic!("no error: {why}"),
                }
            },
            |error| assert!(error.kind() == ErrorKind::Data && error.to_string().contains(why), "{error}"),
        );
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let wrong = |pairs: &[(&str, &str)]| errors(&PLUGIN.info, pairs);
    assert_eq!(wrong(&[]), "");
    assert!(wrong(&[("max.payload.bytes", "800000")]).contains("max.payload.bytes: it must be more than chunk.bytes"));
    let linkedin = [("format", "linkedin"), ("max.payload.bytes", "2147483648")];
    assert!(wrong(&linkedin).contains("max.payload.bytes: format=linkedin takes"));
    assert!(wrong(&[("chunk.bytes", "1023")]).contains("chunk.bytes"));
    assert!(wrong(&[("id", "name")]).contains("id"));
}
