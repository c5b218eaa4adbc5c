//! Rules of S3, Google Cloud Storage and Azure that take objects away once no record refers to them, made of the lifetime of
//! topics. Text in, text out; the command asks Kafka.

use std::time::Duration;

use pipette_api::{ConnectError, Result};
use pipette_store::Scheme;
use serde_json::{Value, json};

use super::Place;

const DAY: Duration = Duration::from_hours(24);
/// An object that is named by its content is used again until the end of its day.
const REUSE: Duration = DAY;
/// After how many days uploads in parts are aborted that nobody has ended: longer than any upload takes.
const ABORT_DAYS: u64 = 7;

/// A topic's folder and how long its records live.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The folder.
    pub place: &'a Place,
    /// How long records can be read; `None` for ever.
    pub records: Option<Duration>,
}

/// A folder and after how many days its objects can go; `None` when no age says so.
struct Rule<'a> {
    folder: &'a str,
    days: Option<u64>,
}

impl Rule<'_> {
    fn prefix(&self) -> String {
        if self.folder.is_empty() { String::new() } else { format!("{}/", self.folder) }
    }

    /// S3 takes 255 characters.
    fn name(&self, number: usize) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        format!("pipette-{}-{}", number + 1, self.folder.chars().map(plain).take(200).collect::<String>())
    }
}

impl Kept<'_> {
    /// Whole days after which an object can go.
    fn days(&self, margin: Duration) -> Option<u64> {
        let records = self.records.filter(|_| !self.place.naming.is_used_again())?;
        let all = records.saturating_add(margin).saturating_add(REUSE);
        Some(all.as_millis().div_ceil(DAY.as_millis()).try_into().unwrap_or(u64::MAX))
    }

    fn is_within(&self, folder: &str) -> bool {
        let rest = self.place.folder.strip_prefix(folder);
        rest.is_some_and(|rest| folder.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }
}

/// One rule for each folder. Where several match an object, stores go by the shortest: so a folder keeps what lies in it as
/// long as the longest of all topics that have objects there.
fn by_folder<'a>(kept: &[Kept<'a>], margin: Duration) -> Vec<Rule<'a>> {
    let mut folders: Vec<&str> = kept.iter().map(|kept| kept.place.folder.as_str()).collect();
    folders.sort_unstable();
    folders.dedup();
    let days = |folder: &str| {
        let within = kept.iter().filter(|kept| kept.is_within(folder)).map(|kept| kept.days(margin));
        within.reduce(|one, other| Some(one?.max(other?))).flatten()
    };
    folders.into_iter().map(|folder| Rule { folder, days: days(folder) }).collect()
}

/// What is printed: rules for the store, and what to do with them.
#[derive(Debug, PartialEq, Eq)]
pub struct Advice {
    /// The rules, JSON; a command for a folder.
    pub rules: String,
    /// For people.
    pub notes: Vec<String>,
}

/// The rules of one bucket or folder. All places must be in it.
pub fn rules(kept: &[Kept], margin: Duration) -> Result<Advice> {
    let Some(first) = kept.first() else { return Err(ConnectError::config("There is no folder to make rules for")) };
    let bucket = &first.place.store.uri.bucket;
    let rules = by_folder(kept, margin);
    check_number(first.place.store.uri.scheme, &rules)?;
    let mut notes: Vec<String> = kept.iter().map(|kept| note(kept, margin)).collect();
    let (text, how) = match first.place.store.uri.scheme {
        Scheme::S3 => (
            pretty(&s3(&rules)),
            format!(
                "These rules replace all others of the bucket: add what `aws s3api get-bucket-lifecycle-configuration --bucket \
                 {bucket}` shows. Then: aws s3api put-bucket-lifecycle-configuration --bucket {bucket} \
                 --lifecycle-configuration file://rules.json"
            ),
        ),
        Scheme::Gcs => (
            pretty(&gcs(&rules)),
            format!(
                "These rules replace all others of the bucket: add what `gcloud storage buckets describe gs://{bucket} \
                 --format=json(lifecycle_config)` shows. Then: gcloud storage buckets update gs://{bucket} \
                 --lifecycle-file=rules.json"
            ),
        ),
        Scheme::Azure => (
            pretty(&azure(&rules, bucket)),
            "These rules replace all others of the account: add what `az storage account management-policy show` shows. Then: \
             az storage account management-policy create --account-name ACCOUNT --resource-group GROUP --policy @rules.json. \
             Blocks of uploads that were never ended need no rule: Azure takes them away after a week"
                .to_owned(),
        ),
        Scheme::File | Scheme::Memory | Scheme::Https => {
            let commands: Vec<String> = rules.iter().filter_map(find).collect();
            (commands.join("\n"), "A folder has no rules of its own: run this once a day, by cron say".to_owned())
        }
    };
    notes.push(how);
    Ok(Advice { rules: text, notes })
}

/// A store takes all rules or none.
fn check_number(scheme: Scheme, rules: &[Rule]) -> Result<()> {
    // GCS has one rule for objects and one for uploads in parts.
    let (most, each) = match scheme {
        Scheme::S3 => (1000, 1),
        Scheme::Gcs => (100, 2),
        Scheme::Azure => (100, 1),
        Scheme::File | Scheme::Memory | Scheme::Https => return Ok(()),
    };
    let number = rules.len() * each;
    if number <= most {
        return Ok(());
    }
    Err(ConnectError::config(format!(
        "{} folders need {number} rules, and a bucket of this kind takes {most}: let several topics share a folder \
         (key.prefix without ${{topic}}), spread them over several buckets, or use pipette claimcheck gc",
        rules.len()
    )))
}

fn note(kept: &Kept, margin: Duration) -> String {
    let (topic, uri) = (&kept.place.topic, kept.place.uri());
    if kept.place.naming.is_used_again() {
        return format!(
            "Topic {topic}: a record of today may refer to an object in {uri} of any age (key.template has no ${{date}}), so \
             that no rule by age is safe. Use pipette claimcheck gc, or put ${{date}} into key.template"
        );
    }
    match (kept.days(margin), kept.records) {
        (Some(days), Some(records)) => format!(
            "Topic {topic}: records can be read for up to {:.1} days; objects in {uri} are needed for {days}",
            records.as_secs_f64() / DAY.as_secs_f64()
        ),
        _ => format!(
            "Topic {topic}: records live for ever, so that no rule by age is safe for {uri}. Use pipette claimcheck gc, or give \
             the topic a retention"
        ),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn s3(rules: &[Rule]) -> Value {
    let rule = |(number, rule): (usize, &Rule)| {
        let mut json = json!({
            "ID": rule.name(number),
            "Status": "Enabled",
            "Filter": {"Prefix": rule.prefix()},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
        });
        if let Some(days) = rule.days {
            json["Expiration"] = json!({"Days": days});
            json["NoncurrentVersionExpiration"] = json!({"NoncurrentDays": days});
        }
        json
    };
    json!({"Rules": rules.iter().enumerate().map(rule).collect::<Vec<_>>()})
}

fn gcs(rules: &[Rule]) -> Value {
    let rules = rules.iter().flat_map(|rule| {
        let json = |action: &str, days: u64| {
            let mut condition = json!({"age": days});
            if !rule.prefix().is_empty() {
                condition["matchesPrefix"] = json!([rule.prefix()]);
            }
            json!({"action": {"type": action}, "condition": condition})
        };
        let delete = rule.days.map(|days| json("Delete", days));
        delete.into_iter().chain([json("AbortIncompleteMultipartUpload", ABORT_DAYS)])
    });
    json!({"lifecycle": {"rule": rules.collect::<Vec<_>>()}})
}

fn azure(rules: &[Rule], container: &str) -> Value {
    let rules = rules.iter().enumerate().filter_map(|(number, rule)| {
        let days = rule.days?;
        let after = json!({"delete": {"daysAfterModificationGreaterThan": days}});
        let created = json!({"delete": {"daysAfterCreationGreaterThan": days}});
        Some(json!({
            "enabled": true,
            "name": rule.name(number),
            "type": "Lifecycle",
            "definition": {
                "filters": {"blobTypes": ["blockBlob"], "prefixMatch": [format!("{container}/{}", rule.prefix())]},
                "actions": {"baseBlob": after, "version": created, "snapshot": created},
            },
        }))
    });
    json!({"rules": rules.collect::<Vec<_>>()})
}

/// `-mtime +N` is more than N whole days.
fn find(rule: &Rule) -> Option<String> {
    let folder = format!("/{}", rule.folder).replace('\'', "'\\''");
    rule.days.map(|days| format!("find '{folder}' -name .uploads -prune -o -type f -mtime +{days} -exec rm {{}} +"))
}

#[cfg(test)]
mod tests {
    use pipette_api::{ConfigMap, Reach};

    use super::*;

    fn places(uri: &str, topics: &[&str]) -> Vec<Place> {
        configured(&[("store.uri", uri)], topics)
    }

    fn configured(more: &[(&str, &str)], topics: &[&str]) -> Vec<Place> {
        let keys = [&[("output.mode", "claim-check")], more].concat();
        let config: ConfigMap = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Place::all("c", &config, &topics, &[], &Reach::default()).unwrap()
    }

    fn rules_of(uri: &str, days: Option<u64>) -> (Value, String) {
        let places = places(uri, &["lab.images"]);
        let kept = [Kept { place: &places[0], records: days.map(|days| DAY * u32::try_from(days).unwrap()) }];
        let advice = rules(&kept, DAY * 3).unwrap();
        (serde_json::from_str(&advice.rules).unwrap_or(Value::String(advice.rules)), advice.notes.join("\n"))
    }

    #[test]
    fn each_store_gets_rules_of_its_own_kind() {
        let (s3, notes) = rules_of("s3://lake/in", Some(14));
        let rule = &s3["Rules"][0];
        assert_eq!((&rule["Expiration"]["Days"], &rule["Filter"]["Prefix"]), (&json!(18), &json!("in/lab.images/")));
        assert_eq!(rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 7);
        assert_eq!((&rule["ID"], &rule["Status"]), (&json!("pipette-1-in-lab-images"), &json!("Enabled")));
        assert!(notes.contains("--bucket lake") && notes.contains("up to 14.0 days"), "{notes}");
        let (gcs, _) = rules_of("gs://pond", Some(14));
        let [delete, abort] = &gcs["lifecycle"]["rule"].as_array().unwrap()[..] else { panic!("{gcs}") };
        assert_eq!(delete["condition"], json!({"age": 18, "matchesPrefix": ["lab.images/"]}));
        assert_eq!(
            (&delete["action"]["type"], &abort["action"]["type"]),
            (&json!("Delete"), &json!("AbortIncompleteMultipartUpload"))
        );
        let (azure, notes) = rules_of("az://box/in", Some(14));
        let definition = &azure["rules"][0]["definition"];
        assert_eq!(definition["filters"]["prefixMatch"], json!(["box/in/lab.images/"]));
        assert_eq!(definition["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"], 18);
        assert!(notes.contains("need no rule"), "{notes}");
        let (file, _) = rules_of("file:///srv/it's", Some(14));
        let command = r"find '/srv/it'\''s/lab.images' -name .uploads -prune -o -type f -mtime +18 -exec rm {} +";
        assert_eq!(file, json!(command));
    }

    #[test]
    fn records_that_live_for_ever_get_no_expiry() {
        let (s3, notes) = rules_of("s3://lake/in", None);
        assert!(s3["Rules"][0].get("Expiration").is_none() && notes.contains("claimcheck gc"), "{s3} {notes}");
        assert_eq!(s3["Rules"][0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 7);
        assert_eq!(rules_of("gs://pond", None).0["lifecycle"]["rule"].as_array().unwrap().len(), 1);
        assert_eq!(rules_of("az://box", None).0["rules"], json!([]));
        assert_eq!(rules_of("file:///srv", None).0, json!(""));
    }

    /// Where two rules match an object, the store goes by the shorter one.
    #[test]
    fn a_folder_of_several_topics_goes_by_the_one_that_keeps_records_longest() {
        let days = |key_prefix: &str, lives: [Option<u32>; 2]| {
            let places = configured(&[("store.uri", "s3://lake"), ("store.key.prefix", key_prefix)], &["a", "b"]);
            let kept =
                places.iter().zip(lives).map(|(place, days)| Kept { place, records: days.map(|days| DAY * days) });
            let advice = rules(&kept.collect::<Vec<_>>(), DAY).unwrap();
            let rules: Value = serde_json::from_str(&advice.rules).unwrap();
            let days = |rule: &Value| rule["Expiration"]["Days"].as_u64();
            rules["Rules"].as_array().unwrap().iter().map(days).collect::<Vec<_>>()
        };
        assert_eq!(days("all", [Some(3), Some(9)]), [Some(11)]);
        assert_eq!(days("all", [Some(3), None]), [None]);
        assert_eq!(days("${topic}", [Some(3), Some(9)]), [Some(5), Some(11)]);
        let places = [configured(&[("store.uri", "s3://lake/a")], &["b"]), places("s3://lake", &["a"])].concat();
        let kept: Vec<Kept> =
            places.iter().zip([DAY * 20, DAY]).map(|(place, records)| Kept { place, records: Some(records) }).collect();
        let found = by_folder(&kept, DAY);
        let found: Vec<(&str, Option<u64>)> = found.iter().map(|rule| (rule.folder, rule.days)).collect();
        assert_eq!(found, [("a", Some(22)), ("a/b", Some(22))], "what lies in a lives as long as a/b");
    }

    #[test]
    fn more_rules_than_a_store_takes_are_refused() {
        for (uri, most) in [("s3://lake", 1000), ("gs://pond", 50), ("az://box", 100)] {
            for (number, fits) in [(most, true), (most + 1, false)] {
                let topics: Vec<String> = (0..number).map(|number| format!("t{number}")).collect();
                let places = places(uri, &topics.iter().map(String::as_str).collect::<Vec<_>>());
                let kept: Vec<Kept> = places.iter().map(|place| Kept { place, records: Some(DAY) }).collect();
                let advice = rules(&kept, DAY);
                assert_eq!(advice.is_ok(), fits, "{uri} {number}");
                assert!(advice.map_or_else(|error| error.to_string().contains("claimcheck gc"), |_| true));
            }
        }
    }

    #[test]
    fn what_may_be_used_again_at_any_time_gets_no_expiry() {
        let days = |template: &str| {
            let keys =
                [("store.uri", "s3://lake"), ("store.key.strategy", "template"), ("store.key.template", template)];
            let places = configured(&keys, &["a"]);
            let advice = rules(&[Kept { place: &places[0], records: Some(DAY) }], DAY).unwrap();
            let rules: Value = serde_json::from_str(&advice.rules).unwrap();
            (rules["Rules"][0]["Expiration"]["Days"].as_u64(), advice.notes.join("\n").contains("of any age"))
        };
        assert_eq!(days("${sha256}"), (None, true));
        assert_eq!(days("${date}/${sha256}"), (Some(3), false));
    }
}
