//! A dead letter, and the record it was. Pure.

use std::sync::Arc;

use pipette_api::{Blob, KafkaHeaders, RawRecord, TopicPartition};

use crate::task::dead_letters::HEADER;

/// The record that a letter was, as it was consumed, or why it cannot be had. What the worker wrote is the last group of
/// its headers: a record may have brought such headers itself.
pub(super) fn unsealed(letter: &RawRecord, connector: &str) -> Result<RawRecord, String> {
    let first = letter.headers.iter().rposition(|(name, _)| **name == format!("{HEADER}topic"));
    let Some(first) = first else {
        return Err("no header says where the record came from: letters have them with \
                    errors.deadletterqueue.context.headers.enable=true"
            .into());
    };
    let (own, told) = letter.headers.split_at(first);
    let owner = text(told, "connector.name").unwrap_or_default();
    if owner != connector {
        return Err(format!("it is a letter of connector {owner}"));
    }
    let number = |name| text(told, name).and_then(|text| text.parse::<i64>().ok());
    let partition = number("partition").and_then(|partition| i32::try_from(partition).ok());
    let (Some(topic), Some(partition), Some(offset)) = (text(told, "topic"), partition, number("offset")) else {
        return Err("its headers do not say the topic, partition and offset of the record".into());
    };
    let mut headers: KafkaHeaders = own.to_vec();
    headers.extend(told.iter().filter(|(name, _)| !name.starts_with(HEADER)).cloned());
    let tp = TopicPartition { topic: Arc::from(topic), partition };
    Ok(RawRecord { tp, offset, headers, ..letter.clone() })
}

fn text<'a>(headers: &'a [(Arc<str>, Option<Blob>)], name: &str) -> Option<&'a str> {
    let wanted = |header: &&(Arc<str>, Option<Blob>)| header.0.strip_prefix(HEADER) == Some(name);
    let (_, value) = headers.iter().find(wanted)?;
    std::str::from_utf8(value.as_ref()?.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use pipette_api::record::TimestampType;

    use super::*;

    fn letter(headers: &[(&str, &str)]) -> RawRecord {
        let header = |(name, value): &(&str, &str)| (Arc::from(*name), Blob::whole((*value).to_owned()).ok());
        RawRecord {
            tp: TopicPartition::new("dead", 0),
            offset: 7,
            key: None,
            value: None,
            headers: headers.iter().map(header).collect(),
            timestamp: Some(5),
            timestamp_type: TimestampType::CreateTime,
        }
    }

    #[test]
    fn the_last_group_of_headers_counts_and_the_records_own_stay() {
        let [topic, partition, offset, owner] =
            ["topic", "partition", "offset", "connector.name"].map(|name| format!("{HEADER}{name}"));
        let group = |topic_is: &'static str, owner_is: &'static str| {
            [(topic.as_str(), topic_is), (&partition, "3"), (&offset, "99"), (&owner, owner_is)]
        };
        let headers: Vec<_> =
            [("unit", "mg")].into_iter().chain(group("first", "other")).chain(group("rows", "me")).collect();
        let record = unsealed(&letter(&headers), "me").unwrap();
        assert_eq!((record.tp, record.offset), (TopicPartition::new("rows", 3), 99));
        assert_eq!((record.headers.len(), &*record.headers[0].0), (5, "unit"), "those it was consumed with");
        assert_eq!(unsealed(&letter(&headers), "you").unwrap_err(), "it is a letter of connector me");
        assert!(unsealed(&letter(&[("unit", "mg")]), "me").unwrap_err().contains("context.headers.enable=true"));
        let source = [(topic.as_str(), "t"), (&owner, "me")];
        assert!(unsealed(&letter(&source), "me").unwrap_err().contains("do not say the topic, partition and offset"));
    }
}
