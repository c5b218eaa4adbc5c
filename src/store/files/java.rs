//! Reads the offsets file of Java's standalone worker: a serialized `HashMap<byte[], byte[]>`, and nothing else.
//!
//! Any other class is refused, so a crafted file can at most hold wrong offsets.

use pipette_api::{ConnectError, Result};

const OBJECT: u8 = 0x73;
const CLASS: u8 = 0x72;
const ARRAY: u8 = 0x75;
const REFERENCE: u8 = 0x71;
const NULL: u8 = 0x70;
const BLOCK: u8 = 0x77;
const END: u8 = 0x78;

/// A key and its value; `None` is an offset that was taken away.
pub(super) type Pair = (Vec<u8>, Option<Vec<u8>>);

/// The map's pairs. An empty file holds none.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Pair>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut stream = Stream { bytes, at: 0 };
    stream.map().ok_or_else(|| {
        ConnectError::config(format!(
            "byte {} is not what Java's standalone worker writes; remove offset.storage.file.filename to start \
             without its offsets",
            stream.at
        ))
    })
}

struct Stream<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Stream<'_> {
    fn map(&mut self) -> Option<Vec<Pair>> {
        self.expect(&[0xAC, 0xED, 0x00, 0x05, OBJECT])?;
        self.class("java.util.HashMap")?;
        self.take(8)?; // load factor and threshold: how Java sized its table
        self.expect(&[BLOCK, 8])?;
        self.number()?; // capacity
        let size = self.number()?;
        let mut pairs = Vec::new();
        for _ in 0..size {
            let key = self.array()?;
            let value = if self.expect(&[NULL]).is_some() { None } else { Some(self.array()?) };
            pairs.push((key, value));
        }
        self.expect(&[END])?;
        (self.at == self.bytes.len()).then_some(pairs)
    }

    /// A class description with that name. Its fields are skipped by their descriptions.
    fn class(&mut self, name: &str) -> Option<()> {
        self.expect(&[CLASS])?;
        let length = self.short()?;
        (self.take(length)? == name.as_bytes()).then_some(())?;
        self.take(9)?; // serial version and flags
        for _ in 0..self.short()? {
            self.take(1)?;
            let length = self.short()?;
            self.take(length)?;
        }
        self.expect(&[END, NULL])
    }

    /// A byte array. Java describes the class once and then refers back to it.
    fn array(&mut self) -> Option<Vec<u8>> {
        self.expect(&[ARRAY])?;
        match self.bytes.get(self.at)? {
            &REFERENCE => drop(self.take(5)?),
            _ => self.class("[B")?,
        }
        let length = self.number()?;
        Some(self.take(length)?.to_vec())
    }

    fn expect(&mut self, wanted: &[u8]) -> Option<()> {
        let ahead = self.bytes.get(self.at..)?;
        ahead.starts_with(wanted).then(|| self.at += wanted.len())
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        usize::try_from(i32::from_be_bytes(bytes)).ok()
    }

    fn short(&mut self) -> Option<usize> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(usize::from(u16::from_be_bytes(bytes)))
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &[u8] = include_bytes!("../../../tests/java/recorded/standalone-offsets.bin");

    #[test]
    fn the_file_of_a_real_worker_is_read() {
        let key = br#"["orders-src",{"filename":"in.txt"}]"#.to_vec();
        assert_eq!(read(RECORDED).unwrap(), [(key, Some(br#"{"position":8}"#.to_vec()))]);
    }

    #[test]
    fn a_second_pair_and_a_null_value_are_read() {
        let mut file = RECORDED[..RECORDED.len() - 1].to_vec();
        let size = file.windows(2).position(|pair| pair == [BLOCK, 8]).unwrap() + 9;
        file[size] = 2;
        file.extend_from_slice(&[ARRAY, REFERENCE, 0, 0x7E, 0, 2, 0, 0, 0, 1, b'k', NULL, END]);
        assert_eq!(read(&file).unwrap()[1], (b"k".to_vec(), None));
    }

    #[test]
    fn anything_else_is_refused_by_position() {
        for cut in 1..RECORDED.len() {
            let error = read(&RECORDED[..cut]).unwrap_err().to_string();
            assert!(error.contains("is not what Java's standalone worker writes"), "{cut}: {error}");
        }
        let other = String::from_utf8_lossy(RECORDED).into_owned().replace("HashMap", "HashSet");
        read(other.as_bytes()).unwrap_err();
    }
}
