//! Protocol Buffers on the wire: the fields of one message, one after the other, borrowed from its bytes.
//!
//! Only what Sparkplug B needs. `payload.rs` knows what the numbers mean. Read next: `payload.rs`.

/// What a field carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Reads the fields of a message.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The number of the next field and what it carries; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| format!("a field cannot have the number {}", tag >> 3))?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.fixed()?),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => Field::Fixed32(self.fixed()?),
            other => {
                return Err(format!("the field {number} has the wire type {other}, which Sparkplug B does not use"));
            }
        };
        Ok(Some((number, field)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            let part = u64::from(byte & 0x7f);
            if index == 9 && part > 1 {
                return Err("a number is larger than 64 bits".into());
            }
            number |= part << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 { "it ends within a number".into() } else { "a number has no end".into() })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| unreachable!("as many bytes as were asked for"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (part, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| format!("a field of {length} bytes has only {} left", self.rest.len()))?;
        self.rest = rest;
        Ok(part)
    }
}

/// Writes a varint field.
pub(super) fn write_varint(number: u8, value: u64, out: &mut Vec<u8>) {
    out.push(number << 3);
    varint_into(value, out);
}

/// Writes a field of bytes.
pub(super) fn write_bytes(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    varint_into(u64::from(number) << 3 | 2, out);
    varint_into(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint_into(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        for (bytes, reason) in [
            (&[0x08][..], "ends within a number"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x01], "has no end"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "larger than 64 bits"),
            (&[0x12, 0x05, 1, 2], "a field of 5 bytes has only 2 left"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "has only 0 left"),
            (&[0x0b], "wire type 3"),
            (&[0x00, 0x01], "cannot have the number 0"),
            (&[0x0d, 1], "a field of 4 bytes has only 1 left"),
        ] {
            let error = Fields::of(bytes).next().unwrap_err();
            assert!(error.contains(reason), "{bytes:x?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 1u8..15, value: u64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            write_varint(number, value, &mut out);
            write_bytes(number, &bytes, &mut out);
            let mut fields = Fields::of(&out);
            prop_assert_eq!(fields.next(), Ok(Some((number.into(), Field::Varint(value)))));
            prop_assert_eq!(fields.next(), Ok(Some((number.into(), Field::Bytes(&bytes)))));
            prop_assert_eq!(fields.next(), Ok(None));
        }
    }
}
