use super::*;

/// 2026-07-01.
const NOW: i64 = 1_782_864_000_000;

fn written(pattern: &str, millis: i64) -> String {
    let mut out = String::new();
    DateFormat::at(pattern, NOW).unwrap().format(millis, &mut out);
    out
}

fn read(pattern: &str, text: &str) -> Option<i64> {
    DateFormat::at(pattern, NOW).unwrap().parse(text)
}

#[test]
fn times_are_written_as_java_writes_them() {
    let time = 1_483_425_001_864;
    for (pattern, expected) in [
        ("yyyy-MM-dd HH:mm:ss.SSS z", "2017-01-03 06:30:01.864 UTC"),
        ("yyyyMMdd", "20170103"),
        ("yy/M/d h:mm a", "17/1/3 6:30 AM"),
        ("EEE, d MMM yyyy", "Tue, 3 Jan 2017"),
        ("EEEE MMMM G GGGG", "Tuesday January AD AD"),
        ("yyyy-MM-dd'T'HH:mm:ss'Z'", "2017-01-03T06:30:01Z"),
        ("'o''clock' ''", "o'clock '"),
        ("D F w W u k K", "3 1 1 1 2 6 6"),
        ("YYYY'W'ww", "2017W01"),
        ("SSSS|S", "0864|864"),
        ("Z X XX XXX zzzz", "+0000 Z Z Z Coordinated Universal Time"),
    ] {
        assert_eq!(written(pattern, time), expected, "{pattern}");
    }
    assert_eq!(written("yyyy-MM-dd", -12_219_292_800_001), "1582-10-04");
    assert_eq!(written("y yyy yyyyy G", -62_135_596_800_000), "1 001 00001 AD");
}

#[test]
fn texts_are_read_as_java_reads_them() {
    for (pattern, text, expected) in [
        ("yyyy-MM-dd", "2017-01-03", Some(1_483_401_600_000)),
        ("yyyy-MM-dd", "2019-02-43", Some(1_552_608_000_000)),
        ("yyyy-MM-dd", "2017-01-03 and more", Some(1_483_401_600_000)),
        ("yyyy-MM-dd", "17-01", None),
        ("yyyyMMdd", "20170103", Some(1_483_401_600_000)),
        ("yy", "26", Some(1_767_225_600_000)),
        ("yy", "47", Some(-725_846_400_000)),
        ("ss.SSS", "1.7", Some(1007)),
        ("ss.S", "1.123456", Some(124_456)),
        ("yyyy MMM d", "2017 jANUARY 3", Some(1_483_401_600_000)),
        ("HH:mm z", "10:00 PST", Some(64_800_000)),
        ("HH:mm z", "10:00 GMT+02:00", Some(28_800_000)),
        ("HH:mm z", "10:00 GMT+2", None),
        ("HH:mm z", "10:00 +02:00", None),
        ("HH:mm Z", "10:00 Z", None),
        ("HH:mm XXX", "10:00 Z", Some(36_000_000)),
        ("HH:mm XXX", "10:00 +0200", None),
        ("HH:mmX", "10:00+0230", Some(28_800_000)),
        ("h a", "12 AM", Some(0)),
        ("yyyy DDD", "2017 003", Some(1_483_401_600_000)),
        ("YYYY ww u", "2017 01 2", Some(1_483_401_600_000)),
        ("'x'", "x", Some(0)),
        ("", "x", None),
    ] {
        assert_eq!(read(pattern, text), expected, "{pattern} of {text}");
    }
}

#[test]
fn patterns_that_are_none_are_refused_in_javas_words() {
    for (pattern, expected) in [
        ("yyyy-bb", "Illegal pattern character 'b'"),
        ("yyyy 'at", "Unterminated quote"),
        ("XXXX", "invalid ISO 8601 format: length=4"),
    ] {
        assert_eq!(DateFormat::new(pattern).err().as_deref(), Some(expected));
    }
}

#[test]
fn what_is_written_is_read_again() {
    let format = DateFormat::at("yyyy-MM-dd G HH:mm:ss.SSS", NOW).unwrap();
    let mut millis = -70_000_000_000_000;
    while millis < 250_000_000_000_000 {
        let mut text = String::new();
        format.format(millis, &mut text);
        assert_eq!(format.parse(&text), Some(millis), "{text}");
        millis += 86_399_123_457;
    }
}

#[test]
fn weeks_before_christ_are_in_the_years_that_java_takes() {
    for (days, expected) in [
        (-733_415, "-0039 01 7 BC"),
        (-733_414, "-0039 01 1 BC"),
        (-733_047, "-0037 53 4 BC"),
        (-731_954, "-0034 52 5 BC"),
        (-1_823_672_785, "-4990975 01 7 BC"),
        (-718_071, "0004 01 7 AD"),
    ] {
        assert_eq!(written("YYYY ww u G", days * 86_400_000), expected, "{days}");
    }
}
