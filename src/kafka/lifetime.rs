//! How long records of a topic can be read: what decides how long the objects they refer to must live.
//!
//! `task/retention.rs` compares it with what a connector says of its store, `claimcheck/` makes rules for stores of it.

use std::time::Duration;

use pipette_api::Result;

use super::admin::Admin;

/// Kafka's own default, for a broker that does not tell.
const SEGMENT: Duration = Duration::from_hours(168);

/// What a topic's settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// `retention.ms`; `None` for ever.
    pub retention: Option<Duration>,
    /// `segment.ms`: Kafka takes away whole segments, once their last record is old enough.
    pub segment: Duration,
    /// Compaction without deletion: the last record of a key lives for ever.
    pub compacted: bool,
}

impl Lifetime {
    /// Asks for the settings of a topic: `None` when there is no such topic, or when Kafka does not tell.
    pub async fn of(admin: &Admin, topic: &str) -> Result<Option<Self>> {
        let Some(retention) = admin.topic_setting(topic, "retention.ms").await? else { return Ok(None) };
        let segment = admin.topic_setting(topic, "segment.ms").await?;
        let policy = admin.topic_setting(topic, "cleanup.policy").await?;
        Ok(Some(Self::read(&retention, segment.as_deref(), policy.as_deref())))
    }

    fn read(retention: &str, segment: Option<&str>, policy: Option<&str>) -> Self {
        let millis = |text: &str| text.trim().parse().ok().map(Duration::from_millis);
        let policies = || policy.unwrap_or("delete").split(',').map(str::trim);
        Self {
            // -1 is no natural number.
            retention: millis(retention),
            segment: segment.and_then(millis).unwrap_or(SEGMENT),
            compacted: policies().any(|policy| policy == "compact") && policies().all(|policy| policy != "delete"),
        }
    }

    /// After which time no record can be read any more; `None` when there is no such time.
    pub fn longest(&self) -> Option<Duration> {
        self.retention.filter(|_| !self.compacted).map(|retention| retention.saturating_add(self.segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_live_as_long_as_their_segment() {
        let longest = |retention, segment, policy| {
            Lifetime::read(retention, segment, policy).longest().map(|longest| longest.as_millis())
        };
        assert_eq!(longest("1000", Some("500"), Some("delete")), Some(1500));
        assert_eq!(longest("1000", Some("500"), Some("compact, delete")), Some(1500), "what is old goes all the same");
        assert_eq!(longest("1000", Some("500"), Some("compact")), None);
        assert_eq!(longest("-1", Some("500"), None), None);
        assert_eq!(longest("0", None, None), Some(604_800_000));
    }
}
