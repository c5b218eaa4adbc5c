//! Walks a request before it is decoded, so that a count that lies costs nothing.
//!
//! The generated decoders reserve memory for as many elements as a request claims to have: a few bytes of garbage could
//! ask for gigabytes and end the process. Here nothing is reserved; only what truly holds its elements, and not too many
//! of them, goes on to be decoded. A wrong table shows in the wire tests, which send every version.

use kafka_protocol::messages::ApiKey;

/// Elements of all arrays in one request. Decoded, each costs some hundred bytes.
const MAX_ELEMENTS: usize = 100_000;

/// A request's fields: `1 2 4 8 u` are bytes of fixed number (`u` is a UUID), `s` a string, `b` bytes, `[ … ]` an array
/// of structures and `{ … }` one of plain values. `@3` means from version 3 on, `@0-2` up to version 2.
fn shape(key: ApiKey) -> Option<&'static str> {
    Some(match key {
        ApiKey::Produce => "s 2 4 [ s [ 4 b ] ]",
        ApiKey::Fetch => "4 4 4 4 1 4@7 4@7 [ s [ 4 4@9 8 4@12 8@5 4 ] ] [@7 s { 4 } ] s@11",
        ApiKey::ListOffsets => "4 1@2 [ s [ 4 4@4 8 ] ]",
        ApiKey::Metadata => "[ u@10 s ] 1@4 1@8-10 1@8",
        ApiKey::OffsetCommit => "s 4 s s@7 8@2-4 [ s [ 4 8 4@6 s ] ]",
        ApiKey::OffsetFetch => "s@0-7 [@0-7 s { 4 } ] [@8 s [ s { 4 } ] ] 1@7",
        ApiKey::FindCoordinator => "s@0-3 1@1 {@4 s }",
        ApiKey::JoinGroup => "s 4 4@1 s s@5 s [ s b ]",
        ApiKey::Heartbeat => "s 4 s s@3",
        ApiKey::LeaveGroup => "s s@0-2 [@3 s s s@5 ]",
        ApiKey::SyncGroup => "s 4 s s@3 s@5 s@5 [ s b ]",
        ApiKey::DescribeGroups => "{ s } 1@3",
        ApiKey::ListGroups => "{@4 s }",
        ApiKey::ApiVersions => "s@3 s@3",
        ApiKey::CreateTopics => "[ s 4 2 [ 4 { 4 } ] [ s s ] ] 4 1",
        ApiKey::DeleteTopics => "{ s } 4",
        ApiKey::DeleteRecords => "[ s [ 4 8 ] ] 4",
        ApiKey::InitProducerId => "s 4 8@3 2@3",
        ApiKey::AddPartitionsToTxn => "s 8 2 [ s { 4 } ]",
        ApiKey::AddOffsetsToTxn => "s 8 2 s",
        ApiKey::EndTxn => "s 8 2 1",
        ApiKey::TxnOffsetCommit => "s s 8 2 4@3 s@3 s@3 [ s [ 4 8 4@2 s ] ]",
        ApiKey::DescribeConfigs => "[ 1 s { s } ] 1 1@3",
        ApiKey::AlterConfigs => "[ 1 s [ s s ] ] 1",
        ApiKey::IncrementalAlterConfigs => "[ 1 s [ s 1 s ] ] 1",
        ApiKey::CreatePartitions => "[ s 4 [ { 4 } ] ] 4 1",
        ApiKey::DeleteGroups => "{ s }",
        ApiKey::OffsetDelete => "s [ s [ 4 ] ]",
        ApiKey::DescribeCluster => "1 1@1",
        _ => return None,
    })
}

/// Whether the body of a request, behind its header, holds what it says it holds.
pub(super) fn is_sound(key: ApiKey, version: i16, body: &[u8]) -> bool {
    let Some(shape) = shape(key) else { return false };
    let tokens: Vec<&str> = shape.split_whitespace().collect();
    // Requests with the second header form are the ones with compact lengths and tagged fields.
    let flexible = key.request_header_version(version) >= 2;
    let mut walk = Walk { left: body, version, flexible, elements: 0 };
    walk.structure(&tokens).is_some()
}

struct Walk<'a> {
    left: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
    fn structure(&mut self, tokens: &[&str]) -> Option<()> {
        self.fields(tokens)?;
        if self.flexible { self.tagged_fields() } else { Some(()) }
    }

    fn fields(&mut self, tokens: &[&str]) -> Option<()> {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let (kind, versions) = token.split_once('@').unwrap_or((token, "0"));
            let present = self.is_in(versions)?;
            if !matches!(kind, "[" | "{") {
                at += 1;
                if present {
                    self.value(kind)?;
                }
                continue;
            }
            let end = at + closing(tokens.get(at..)?)?;
            if present {
                self.array(tokens.get(at + 1..end)?, kind == "[")?;
            }
            at = end + 1;
        }
        Some(())
    }

    fn is_in(&self, versions: &str) -> Option<bool> {
        let (first, last) = versions.split_once('-').unwrap_or((versions, ""));
        let not_before = self.version >= first.parse().ok()?;
        let not_after = last.is_empty() || self.version <= last.parse().ok()?;
        Some(not_before && not_after)
    }

    fn array(&mut self, tokens: &[&str], of_structures: bool) -> Option<()> {
        let count = self.length(4)?;
        self.elements = self.elements.checked_add(count).filter(|elements| *elements <= MAX_ELEMENTS)?;
        for _ in 0..count {
            if of_structures { self.structure(tokens)? } else { self.fields(tokens)? }
        }
        Some(())
    }

    fn value(&mut self, kind: &str) -> Option<()> {
        let size = match kind {
            "s" => self.length(2)?,
            "b" => self.length(4)?,
            "u" => 16,
            digits => digits.parse().ok()?,
        };
        self.skip(size)
    }

    /// The length before a string, bytes or an array, whose older form has that many bytes; null holds nothing.
    fn length(&mut self, width: usize) -> Option<usize> {
        if self.flexible {
            return Some(self.variable()?.saturating_sub(1));
        }
        let (digits, left) = self.left.split_at_checked(width)?;
        self.left = left;
        let negative = digits.first()? & 0x80 != 0;
        let value = digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit));
        Some(if negative { 0 } else { value })
    }

    fn variable(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let (byte, left) = self.left.split_first()?;
            self.left = left;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn tagged_fields(&mut self) -> Option<()> {
        for _ in 0..self.variable()? {
            self.variable()?;
            let size = self.variable()?;
            self.skip(size)?;
        }
        Some(())
    }

    fn skip(&mut self, size: usize) -> Option<()> {
        self.left = self.left.get(size..)?;
        Some(())
    }
}

/// Where the bracket that the tokens begin with is closed.
fn closing(tokens: &[&str]) -> Option<usize> {
    let mut open = 0;
    tokens.iter().position(|token| {
        open += i32::from(token.starts_with(['[', '{'])) - i32::from(token.starts_with([']', '}']));
        open == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_lies_is_found_out() {
        let one_topic = [&[0, 0, 0, 1, 0, 1, b't'][..], &[1]].concat();
        assert!(is_sound(ApiKey::Metadata, 4, &one_topic));
        assert!(!is_sound(ApiKey::Metadata, 4, &[&[0x7f, 0xff, 0xff, 0xff], &one_topic[4..]].concat()));
        let compact = [&[2, 2, b't', 0][..], &[1, 0, 0, 0]].concat();
        assert!(is_sound(ApiKey::Metadata, 9, &compact));
        assert!(!is_sound(ApiKey::Metadata, 9, &[&[0xff, 0xff, 0xff, 0xff, 0x0f], &compact[1..]].concat()));
    }

    #[test]
    fn too_many_elements_are_refused_though_they_are_there() {
        let topics = |count: u32| [&count.to_be_bytes()[..], &vec![0; 2 * count as usize], &[1]].concat();
        assert!(is_sound(ApiKey::Metadata, 4, &topics(100_000)));
        assert!(!is_sound(ApiKey::Metadata, 4, &topics(100_001)));
    }
}
