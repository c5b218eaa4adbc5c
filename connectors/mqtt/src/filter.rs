//! Topic names and topic filters of MQTT: what is legal, what matches, what overlaps.
//!
//! Pure. `config.rs` refuses bad filters with it, `plan.rs` gives each filter its task, `mapping.rs` finds the Kafka topic
//! of a message. Read next: `template.rs`.

use crate::client::Qos;

/// What MQTT allows for a topic or filter, in bytes.
const LONGEST: usize = 65_535;
/// What a shared subscription begins with.
const SHARE: &str = "$share/";

/// A filter with the quality of service it is subscribed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) qos: Qos,
}

impl Subscription {
    /// `FILTER` or `FILTER@QOS`. A filter may have an `@` of its own; behind its last one no number stands but a quality.
    pub(crate) fn read(text: &str, default: Qos) -> Result<Self, String> {
        let is_number = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let (filter, qos) = match text.rsplit_once('@').filter(|(_, level)| is_number(level)) {
            Some((filter, level)) => match level.parse().ok().and_then(Qos::from_level) {
                Some(qos) => (filter, qos),
                None => {
                    return Err(format!(
                        "'{text}' asks for the quality of service {level}, and there are 0, 1 and 2. A filter that ends so \
                         has its quality behind it: {text}@1"
                    ));
                }
            },
            None => (text, default),
        };
        check_filter(filter)?;
        Ok(Self { filter: filter.to_owned(), qos })
    }

    /// `FILTER@QOS`.
    pub(crate) fn text(&self) -> String {
        format!("{}@{}", self.filter, self.qos.level())
    }

    /// What it matches: the filter without the group of a shared subscription.
    pub(crate) fn pattern(&self) -> &str {
        pattern(&self.filter)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.filter.starts_with(SHARE)
    }
}

/// The filter as members of a group subscribe to it.
pub(crate) fn shared(group: &str, filter: &str) -> String {
    format!("{SHARE}{group}/{filter}")
}

fn pattern(filter: &str) -> &str {
    let group_and_pattern = filter.strip_prefix(SHARE).and_then(|rest| rest.split_once('/'));
    group_and_pattern.map_or(filter, |(_, pattern)| pattern)
}

/// Why a text is no topic filter.
pub(crate) fn check_filter(filter: &str) -> Result<(), String> {
    if let Some(rest) = filter.strip_prefix(SHARE) {
        let Some((group, pattern)) = rest.split_once('/') else {
            return Err(format!("'{filter}' is a shared subscription without a filter: write $share/GROUP/FILTER"));
        };
        check_group(group)?;
        return check_levels(pattern);
    }
    check_levels(filter)
}

/// Why a text is no group of a shared subscription.
pub(crate) fn check_group(group: &str) -> Result<(), String> {
    if group.is_empty() || group.contains(['/', '+', '#', '\0']) {
        return Err(format!("the group '{group}' of a shared subscription must not be empty nor contain / + #"));
    }
    Ok(())
}

fn check_levels(filter: &str) -> Result<(), String> {
    check_text(filter)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "#" if levels.peek().is_some() => return Err(format!("in '{filter}' the # must be the last level")),
            "#" | "+" => {}
            level if level.contains(['#', '+']) => {
                return Err(format!(
                    "in '{filter}' the level '{level}' mixes a wildcard with text: # and + stand alone"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Why a text is no topic that can be published to.
pub(crate) fn check_topic(topic: &str) -> Result<(), String> {
    check_text(topic)?;
    if topic.contains(['+', '#']) {
        return Err(format!("the topic '{topic}' contains a wildcard, and only filters may"));
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an MQTT topic or filter must not be empty".into());
    }
    if text.contains('\0') {
        return Err("an MQTT topic or filter must not contain the character U+0000".into());
    }
    if text.len() > LONGEST {
        return Err(format!("an MQTT topic or filter has at most {LONGEST} bytes, and this one {}", text.len()));
    }
    Ok(())
}

/// True when a topic falls under a filter. Topics that begin with `$` are not matched by a leading wildcard.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let pattern = pattern(filter);
    if topic.starts_with('$') && pattern.starts_with(['+', '#']) {
        return false;
    }
    let (mut levels, mut names) = (pattern.split('/'), topic.split('/'));
    loop {
        match (levels.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            // `a/#` matches `a` as well, which is why the name may be missing above.
            _ => return false,
        }
    }
}

/// True when some topic falls under both filters, so that a broker may deliver it twice.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (pattern(one), pattern(other));
    if one.starts_with('$') != other.starts_with('$') && (starts_wild(one) || starts_wild(other)) {
        return false;
    }
    let (mut left, mut right) = (one.split('/'), other.split('/'));
    loop {
        match (left.next(), right.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

fn starts_wild(filter: &str) -> bool {
    filter.starts_with(['+', '#'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+/c", "a//c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("#", "a/b", true),
            ("#", "$SYS/load", false),
            ("+/load", "$SYS/load", false),
            ("$SYS/#", "$SYS/load", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("$share/group/a/+", "a/b", true),
            ("$share/group/a/+", "group/a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn bad_filters_are_refused_with_the_reason() {
        for (filter, reason) in [
            ("", "must not be empty"),
            ("a/#/b", "the # must be the last level"),
            ("a/b#", "mixes a wildcard with text"),
            ("a+/b", "mixes a wildcard with text"),
            ("a\0b", "U+0000"),
            ("$share/group", "without a filter"),
            ("$share//a", "must not be empty"),
            ("$share/g+/a", "nor contain"),
        ] {
            let error = check_filter(filter).unwrap_err();
            assert!(error.contains(reason), "{filter:?}: {error}");
        }
        assert!(check_topic("a/+").unwrap_err().contains("wildcard"));
        assert!(check_filter(&"x".repeat(70_000)).unwrap_err().contains("65535"));
    }

    #[test]
    fn a_filter_may_name_its_quality_of_service() {
        let read = |text| Subscription::read(text, Qos::AtLeastOnce).unwrap();
        assert_eq!(read("a/+@2"), Subscription { filter: "a/+".into(), qos: Qos::ExactlyOnce });
        assert_eq!(read("a/b@home"), Subscription { filter: "a/b@home".into(), qos: Qos::AtLeastOnce });
        assert_eq!(read("a@7@1").filter, "a@7");
        for (text, level) in [("a/b@3", "3"), ("a@-1", "-1"), ("a@256", "256")] {
            let error = Subscription::read(text, Qos::AtLeastOnce).unwrap_err();
            assert!(error.contains(&format!("quality of service {level}, and there are 0, 1 and 2")), "{error}");
        }
        assert_eq!(read(&read("a@0").text()), read("a@0"));
    }

    fn topic() -> impl Strategy<Value = String> {
        proptest::collection::vec("[ab]{0,2}", 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("topics are not empty", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => "[ab]{0,2}", 2 => Just("+".to_owned())];
        (proptest::collection::vec(level, 1..5), any::<bool>())
            .prop_map(|(levels, rest)| if rest { format!("{}/#", levels.join("/")) } else { levels.join("/") })
            .prop_filter("filters are not empty", |filter| !filter.is_empty())
    }

    proptest! {
        #[test]
        fn a_topic_under_two_filters_means_that_they_overlap(one in filter(), other in filter(), topic in topic()) {
            prop_assert!(check_filter(&one).is_ok() && check_topic(&topic).is_ok());
            if matches(&one, &topic) && matches(&other, &topic) {
                prop_assert!(overlap(&one, &other));
            }
            prop_assert_eq!(overlap(&one, &other), overlap(&other, &one));
            prop_assert!(overlap(&one, &one));
        }

        #[test]
        fn filters_without_wildcards_match_themselves_alone(one in topic(), other in topic()) {
            prop_assert_eq!(matches(&one, &other), one == other);
        }
    }
}
