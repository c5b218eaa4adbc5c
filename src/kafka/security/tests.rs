//! What Java's keys become, and what is refused.

use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn read(pairs: Pairs<'_>) -> Result<ClientProperties> {
    let mut security = Security::default();
    for (name, value) in pairs {
        security.take(name, value, &format!("producer.{name}"));
    }
    let mut properties = ClientProperties::new();
    security.finish(&mut properties).map(|()| properties)
}

fn refused(pairs: Pairs<'_>) -> String {
    let error = read(pairs).unwrap_err().chain();
    assert!(error.starts_with("Invalid value for configuration producer.") && !error.contains("s3cret"), "{error}");
    error
}

fn login(module: &str) -> String {
    format!("org.apache.kafka.common.security.{module} required username=\"alice\" password=\"s3cret\";")
}

/// librdkafka itself takes what comes out.
fn taken(properties: &ClientProperties) {
    let mut config = rdkafka::ClientConfig::new();
    config.extend(properties.clone());
    config.create_native_config().unwrap();
}

#[test]
fn a_login_line_becomes_name_and_password() {
    for (mechanism, module) in [
        ("PLAIN", "plain.PlainLoginModule"),
        ("SCRAM-SHA-256", "scram.ScramLoginModule"),
        ("SCRAM-SHA-512", "scram.ScramLoginModule"),
    ] {
        let line = login(module);
        let pairs =
            [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", mechanism), ("sasl.jaas.config", &line)];
        let properties = read(&pairs).unwrap();
        let got =
            ["security.protocol", "sasl.mechanism", "sasl.username", "sasl.password"].map(|key| &*properties[key]);
        assert_eq!(got, ["sasl_plaintext", mechanism, "alice", "s3cret"]);
        assert!(!properties.keys().any(|key| key.starts_with("ssl.")));
        taken(&properties);
    }
}

#[test]
fn nothing_is_said_to_a_client_that_connects_in_the_clear() {
    let line = login("plain.PlainLoginModule");
    let pairs =
        [("sasl.jaas.config", &*line), ("ssl.truststore.location", "/no/such/store"), ("ssl.client.auth", "required")];
    assert_eq!(read(&pairs).unwrap(), ClientProperties::new());
}

#[test]
fn tls_checks_names_unless_the_key_is_empty() {
    const KEY: &str = "ssl.endpoint.identification.algorithm";
    for (value, expected) in [(None, "https"), (Some("HTTPS"), "https"), (Some(""), "none")] {
        let mut pairs = vec![("security.protocol", "SSL")];
        pairs.extend(value.map(|value| (KEY, value)));
        let properties = read(&pairs).unwrap();
        assert_eq!((&*properties[KEY], &*properties["ssl.ca.location"]), (expected, "probe"));
        taken(&properties);
    }
    assert!(refused(&[("security.protocol", "SSL"), (KEY, "LDAPS")]).contains(KEY));
}

#[test]
fn suites_and_protocols_are_offered_as_they_are_named() {
    let suites = |name: &str, value: &str| {
        let properties = read(&[("security.protocol", "SSL"), (name, value)]).unwrap();
        taken(&properties);
        properties.get("ssl.cipher.suites").cloned()
    };
    let both = "TLS_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
    assert_eq!(suites("ssl.cipher.suites", both).as_deref(), Some("ECDHE-RSA-AES256-GCM-SHA384"));
    assert_eq!(suites("ssl.cipher.suites", "TLS_AES_128_GCM_SHA256").as_deref(), Some("PSK-AES256-GCM-SHA384"));
    assert_eq!(suites("ssl.enabled.protocols", "TLSv1.3").as_deref(), Some("PSK-AES256-GCM-SHA384"));
    assert_eq!(suites("ssl.enabled.protocols", "TLSv1.2,TLSv1.3"), None);
    assert!(refused(&[("security.protocol", "SSL"), ("ssl.cipher.suites", "TLS_MINE")]).contains("TLS_MINE"));
    assert!(refused(&[("security.protocol", "SSL"), ("ssl.enabled.protocols", "TLSv1.1")]).contains("neither"));
}

#[test]
fn what_protects_and_cannot_be_honoured_is_refused_by_name() {
    const ENDPOINT: (&str, &str) = ("sasl.oauthbearer.token.endpoint.url", "https://t/token");
    let plain = login("plain.PlainLoginModule");
    let token = "x.ScramLoginModule required username=a password=s3cret tokenauth=true;";
    let extension = "OAuthBearerLoginModule required clientId=a clientSecret=s3cret extension_logicalCluster=c;";
    let over_sasl = |more: Pairs<'_>| refused(&[&[("security.protocol", "SASL_SSL")], more].concat());
    let oauth = |more: Pairs<'_>| over_sasl(&[&[("sasl.mechanism", "OAUTHBEARER")], more].concat());
    for (error, part) in [
        (refused(&[("security.protocol", "TLS")]), "SASL_PLAINTEXT"),
        (refused(&[("ssl.engine.factory.class", "x.Y"), ("security.protocol", "SSL")]), "x.Y is Java code"),
        (refused(&[("sasl.password", "s3cret")]), "sasl.jaas.config"),
        (refused(&[("ssl.ca.location", "/ca")]), "ssl.truststore.location"),
        (refused(&[("ssl.made.up", "s3cret")]), "no key ssl.made.up"),
        (over_sasl(&[]), "means Kerberos"),
        (over_sasl(&[("sasl.mechanism", "GSSAPI")]), "GSSAPI is not supported"),
        (over_sasl(&[("sasl.mechanism", "PLAIN")]), "sasl.jaas.config"),
        (over_sasl(&[("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.jaas.config", &plain)]), "which is ScramLoginModule"),
        (over_sasl(&[("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.jaas.config", token)]), "tokenauth"),
        (over_sasl(&[("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", &plain[..plain.len() - 1])]), "semicolon"),
        (
            over_sasl(&[("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", &plain), ("sasl.login.class", "x.Login")]),
            "x.Login is Java code",
        ),
        (oauth(&[]), "unsecured tokens"),
        (
            oauth(&[("sasl.jaas.config", "x.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=a;")]),
            "unsecured",
        ),
        (oauth(&[ENDPOINT]), "clientId"),
        (oauth(&[ENDPOINT, ("sasl.jaas.config", extension)]), "extension_"),
        (oauth(&[("sasl.oauthbearer.token.endpoint.url", "file:///t")]), "https://"),
        (
            oauth(&[
                ENDPOINT,
                (
                    "sasl.login.callback.handler.class",
                    "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler",
                ),
            ]),
            "is Java code",
        ),
        (oauth(&[ENDPOINT, ("sasl.oauthbearer.assertion.file", "/a")]), "assertions"),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_token_server_is_read_from_either_place() {
    let line = "org.x.OAuthBearerLoginModule required clientId=\"me\" clientSecret=\"s3cret\" scope=all;";
    let base = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", "https://t/token"),
    ];
    let server = |more: Pairs<'_>| {
        let properties = read(&[&base[..], more].concat()).unwrap();
        taken(&properties);
        properties["sasl.oauthbearer.config"].clone()
    };
    let from_keys = server(&[
        ("sasl.oauthbearer.client.credentials.client.id", "me"),
        ("sasl.oauthbearer.client.credentials.client.secret", "s3cret"),
        ("sasl.oauthbearer.scope", "all"),
        ("sasl.login.callback.handler.class", "a.OAuthBearerLoginCallbackHandler"),
    ]);
    assert_eq!(server(&[("sasl.jaas.config", line)]), from_keys);
}

#[test]
fn the_list_is_sorted_for_its_search() {
    assert!(KNOWN.is_sorted());
}
