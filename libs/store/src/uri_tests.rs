use pipette_api::ErrorKind;

use super::*;

#[test]
fn addresses_are_read_and_written_alike() {
    for (text, bucket, key, written) in [
        ("s3://lake/a/b.png", "lake", "a/b.png", "s3://lake/a/b.png"),
        ("S3A://lake/a", "lake", "a", "s3://lake/a"),
        ("abs://box/a%20b", "box", "a b", "az://box/a%20b"),
        ("gs://lake/100%25", "lake", "100%", "gs://lake/100%25"),
        ("file:///data/images/", "", "data/images", "file:///data/images"),
        ("s3://lake", "lake", "", "s3://lake/"),
        ("s3://lake/d=2026-11-26/x+y", "lake", "d=2026-11-26/x+y", "s3://lake/d=2026-11-26/x%2By"),
        ("memory://m/%C3%A4", "m", "ä", "memory://m/%C3%A4"),
    ] {
        let uri = ObjectUri::read(text).unwrap_or_else(|reason| panic!("{text}: {reason}"));
        assert_eq!((uri.bucket.as_str(), uri.key.as_str(), uri.to_string().as_str()), (bucket, key, written));
        assert_eq!(ObjectUri::read(written).unwrap(), uri, "{written}");
    }
}

/// Each would lead elsewhere with one reader or another.
const REFUSED: &[&str] = &[
    "",
    "lake/inbox/a",
    "/lake/inbox/a",
    "//lake/inbox/a",
    "s3:lake/inbox/a",
    "s3:///inbox/a",
    "s3://lake/inbox/../secret",
    "s3://lake/inbox/./a",
    "s3://lake/inbox//a",
    "s3://lake//inbox/a",
    "s3://lake/inbox/%2e%2e/secret",
    "s3://lake/inbox/%2E./secret",
    "s3://lake/inbox/%252e%252e/secret",
    "s3://lake/inbox/%25252e%25252e/secret",
    "s3://lake/inbox%2fa",
    "s3://lake/inbox/..%2fsecret",
    "s3://lake/inbox/..%5csecret",
    "s3://lake/inbox\\..\\secret",
    "s3://lake/inbox/%00",
    "s3://lake/inbox/%ff",
    "s3://lake/inbox/a\n",
    "s3://lake/inbox/a b",
    "s3://lake/inbox/a?versionId=1",
    "s3://lake/inbox/a?X-Amz-Signature=abc",
    "s3://lake/inbox/a#b",
    "s3://key:secret@lake/inbox/a",
    "s3://lake@evil/inbox/a",
    "s3://lake:9000/inbox/a",
    "s3://evil/inbox/a",
    "s3://Lake/inbox/a",
    "s3://lake.evil/inbox/a",
    "s3://lake/inbox2/a",
    "s3://lake/inbo",
    "s3://lake/",
    "s3://lake",
    "gs://lake/inbox/a",
    "file:///etc/passwd",
    "file:///data/../etc/passwd",
    "file:///data/%2e%2e/etc/passwd",
    "file://host/data/a",
    "file:///",
    "file:/data/a",
    "http://169.254.169.254/latest/meta-data/iam",
    "https://169.254.169.254/latest",
    "http://[fe80::1]/a",
    "http://2852039166/latest",
    "http://localhost/a",
    "https://lake.s3.amazonaws.com/inbox/a",
    "s3://169.254.169.254/inbox/a",
    "s3://[::1]/inbox/a",
    "ftp://lake/inbox/a",
    "abfss://box@account.dfs.core.windows.net/a",
    "data:text/plain,hello",
];

#[test]
fn references_elsewhere_are_refused() {
    let allowed = Allowed::read("allowed.uri.prefixes", &["s3://lake/inbox", "file:///data"]).unwrap();
    for text in REFUSED {
        let error = allowed.check(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Data, "{text}");
        assert!(!error.chain().contains("secret@") && !error.chain().contains("Signature"), "{error}");
    }
    for text in ["s3://lake/inbox/a", "S3://lake/inbox/a/b..c/...", "file:///data/a%20b", "s3://lake/inbox"] {
        allowed.check(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    assert!(allowed.check(&format!("s3://lake/inbox/{}", "a".repeat(LONGEST))).is_err());
}

/// Azure's account is no part of an address: it is an option of the store, and no reference can name another one.
#[test]
fn each_kind_of_store_has_its_own_prefixes() {
    let allowed = Allowed::read("allowed.uri.prefixes", &["gs://lake/in%20box", "az://box/in"]).unwrap();
    for text in
        ["gs://lake/in%20box/a%2Bb", "GS://lake/in%20box/a", "az://box/in/a", "abs://box/in/a", "azure://box/in/a"]
    {
        allowed.check(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for text in [
        "gs://lake/in%2520box/a",
        "gs://lake/in+box/a",
        "gs://box/in/a",
        "s3://lake/in%20box/a",
        "az://lake/in%20box/a",
        "az://box/in%20/a",
        "az://account/box/in/a",
        "az://box@account/in/a",
        "az://account.blob.core.windows.net/box/in/a",
        "abfs://box/in/a",
        "abfss://box@account.dfs.core.windows.net/in/a",
        "wasbs://box@account.blob.core.windows.net/in/a",
        "https://storage.googleapis.com/lake/in%20box/a",
        "https://account.blob.core.windows.net/box/in/a?sig=secret",
    ] {
        let error = allowed.check(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Data, "{text}");
        assert!(!error.chain().contains("sig=secret"), "{error}");
    }
    for text in ["abfss://box@account.dfs.core.windows.net/in", "wasbs://box@account.blob.core.windows.net/in"] {
        let error = Allowed::read("allowed.uri.prefixes", &[text]).unwrap_err();
        assert!(error.to_string().contains("az://container/key"), "{error}");
    }
}

#[test]
fn a_list_of_prefixes_has_no_wildcards_and_is_not_empty() {
    for bad in [&["*"][..], &["s3://lake/*"], &[], &["lake/inbox"], &["s3://a:b@lake/x"]] {
        assert_eq!(Allowed::read("allowed.uri.prefixes", bad).unwrap_err().kind(), ErrorKind::Config, "{bad:?}");
    }
    let wide = Allowed::read("allowed.uri.prefixes", &["s3://lake", "s3://lake/inbox"]).unwrap();
    assert_eq!(wide.whole_buckets().map(ToString::to_string).collect::<Vec<_>>(), ["s3://lake/"]);
}

proptest::proptest! {
    #[test]
    fn whatever_is_let_through_lies_under_the_prefix(tail in "[a.%2eEfF/\\\\5cC]{0,24}") {
        let allowed = Allowed::read("k", &["s3://lake/inbox"]).unwrap();
        if let Ok((uri, _)) = allowed.check(&format!("s3://lake/inbox/{tail}")) {
            proptest::prop_assert!(uri.key == "inbox" || uri.key.starts_with("inbox/"));
            proptest::prop_assert!(!uri.key.split('/').any(|part| part.is_empty() || part == "." || part == ".."));
            proptest::prop_assert_eq!(ObjectUri::read(&uri.to_string()), Ok(uri));
        }
    }
}

#[test]
fn the_web_is_read_only_where_it_is_asked_for_and_only_the_hosts_that_are_named() {
    let prefixes = ["https://Media.example:8443/images", "https://10.0.0.5/", "s3://lake/inbox"];
    assert!(Allowed::read("allowed.uri.prefixes", &prefixes).is_err());
    assert!(ObjectUri::read("https://media.example/a").is_err(), "no store is there");
    let allowed = Allowed::read_with_web("allowed.uri.prefixes", &prefixes).unwrap();
    for (text, written) in [
        ("https://media.example:8443/images/a%20b.png", "https://media.example:8443/images/a%20b.png"),
        ("HTTPS://MEDIA.example:8443/images/x/y", "https://media.example:8443/images/x/y"),
        ("https://10.0.0.5/a", "https://10.0.0.5/a"),
        ("s3://lake/inbox/a", "s3://lake/inbox/a"),
    ] {
        assert_eq!(allowed.check(text).unwrap().0.to_string(), written);
    }
    for text in [
        "http://media.example:8443/images/a",
        "https://media.example/images/a",
        "https://media.example:8443/images2/a",
        "https://media.example:8443/images/../a",
        "https://media.example:8443/images/%2e%2e/a",
        "https://media.example:8443/images/a?token=1",
        "https://media.example:8443@evil.example/images/a",
        "https://media.example:8443.evil.example/images/a",
        "https://media.example:99999/images/a",
        "https://10.0.0.6/a",
        "https://[::1]/a",
        "https:///images/a",
    ] {
        assert_eq!(allowed.check(text).unwrap_err().kind(), ErrorKind::Data, "{text}");
    }
    let six = Allowed::read_with_web("allowed.uri.prefixes", &["https://[2001:DB8::1]:444/a"]).unwrap();
    assert!(six.has_web() && six.check("https://[2001:db8::1]:444/a/b").is_ok());
}
