//! Whether objects in a store live as long as the records that refer to them: looked at once for each topic a source writes
//! to, before its first record.
//!
//! `topics.rs` asks. What a connector says of its store is in `settings/claim_check.rs`.

use pipette_api::{ConnectError, Result};

use crate::kafka::admin::Admin;
use crate::kafka::lifetime::Lifetime;
use crate::kafka::properties::ClientProperties;
use crate::settings::claim_check::{Claim, Preflight};

/// Compares a topic with every store. A config error when one with `preflight=strict` keeps objects too short; the others are
/// told in the log. Kafka that does not tell is no reason to stop: retriable with `strict` only.
pub async fn compare(claims: &[Claim], properties: &ClientProperties, topic: &str) -> Result<()> {
    let claims: Vec<&Claim> = claims.iter().filter(|claim| is_comparable(claim)).collect();
    if claims.is_empty() {
        return Ok(());
    }
    let strict = claims.iter().any(|claim| claim.preflight == Preflight::Strict);
    let asked = async { Lifetime::of(&Admin::new(properties)?, topic).await };
    let lifetime = match asked.await {
        Ok(Some(lifetime)) => lifetime,
        Ok(None) if strict => {
            return Err(ConnectError::config(format!(
                "preflight=strict: how long records of topic {topic} live is not known, because it is not there yet or Kafka \
                 does not tell its settings. Create it, by topic.creation.* say, or use preflight=warn"
            )));
        }
        Ok(None) => {
            tracing::warn!(
                topic,
                "Whether objects live as long as records is not known: Kafka does not tell the topic's settings"
            );
            return Ok(());
        }
        Err(error) if strict => return Err(error),
        Err(error) => {
            tracing::warn!(topic, error = error.chain(), "Whether objects live as long as records is not known");
            return Ok(());
        }
    };
    for claim in claims {
        let Some(complaint) = complaint(claim, topic, &lifetime) else { continue };
        if claim.preflight == Preflight::Strict {
            return Err(ConnectError::config(complaint));
        }
        tracing::warn!(topic, "{complaint}");
    }
    Ok(())
}

fn is_comparable(claim: &Claim) -> bool {
    claim.object_retention.is_some() && claim.preflight != Preflight::Off
}

/// What is wrong with the lifetime of objects, and what to do.
pub fn complaint(claim: &Claim, topic: &str, lifetime: &Lifetime) -> Option<String> {
    let objects = claim.object_retention.filter(|_| is_comparable(claim))?;
    let records = match lifetime.longest() {
        Some(longest) if longest <= objects => return None,
        Some(longest) => format!(
            "can be read for up to {} ms (retention.ms and segment.ms). Keep objects at least as long",
            longest.as_millis()
        ),
        None if lifetime.compacted => {
            "live for ever (cleanup.policy=compact). Do not expire its objects by age: take them away with pipette \
             claimcheck gc"
                .into()
        }
        None => {
            "live for ever (retention.ms=-1). Give the topic a retention, or do not expire its objects by age".into()
        }
    };
    Some(format!(
        "{}object.retention.ms: objects are gone after {} ms, but records of topic {topic} {records}; readers of the others \
         would find nothing",
        claim.place,
        objects.as_millis()
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn claim(millis: Option<u64>, preflight: &str) -> Claim {
        let mut config: pipette_api::ConfigMap = [("output.mode", "claim-check"), ("store.preflight", preflight)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        if let Some(millis) = millis {
            config.insert("store.object.retention.ms".into(), millis.to_string());
        }
        Claim::all(&config).unwrap().remove(0)
    }

    #[test]
    fn objects_must_outlive_the_segments_of_their_records() {
        let lifetime = |retention: Option<u64>, compacted| Lifetime {
            retention: retention.map(Duration::from_millis),
            segment: Duration::from_millis(500),
            compacted,
        };
        let told = |millis, lifetime: &Lifetime| complaint(&claim(millis, "warn"), "t", lifetime);
        assert_eq!(told(Some(1500), &lifetime(Some(1000), false)), None);
        let short = told(Some(1499), &lifetime(Some(1000), false)).unwrap();
        assert!(short.starts_with("store.object.retention.ms: ") && short.contains("up to 1500 ms"), "{short}");
        assert!(told(Some(u64::MAX), &lifetime(None, false)).unwrap().contains("retention.ms=-1"));
        assert!(told(Some(9999), &lifetime(Some(1), true)).unwrap().contains("compact"));
        assert_eq!(told(None, &lifetime(None, false)), None, "nobody says that objects go");
        assert_eq!(complaint(&claim(Some(1), "off"), "t", &lifetime(None, false)), None);
    }
}
