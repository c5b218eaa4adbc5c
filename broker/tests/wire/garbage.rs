//! What is no request closes the connection it came on, and nothing else.

use std::io::Write;

use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, MetadataRequest, RequestKind, ResponseKind};

use crate::every_version::{sample, supported};
use crate::socket::{Fixture, ask, frame, is_closed, read_frame};

fn metadata() -> RequestKind {
    RequestKind::Metadata(MetadataRequest::default().with_topics(None))
}

fn closes(fixture: &Fixture, bytes: &[u8]) {
    let mut neighbour = fixture.connect();
    let mut stream = fixture.connect();
    stream.write_all(bytes).unwrap();
    assert!(is_closed(&mut stream), "{bytes:?}");
    ask(&mut neighbour, ApiKey::Metadata, 9, &metadata());
}

#[test]
fn what_is_no_request_closes_only_its_own_connection() {
    let fixture = Fixture::start(|_| {});
    closes(&fixture, b"GET / HTTP/1.1\r\n\r\n");
    closes(&fixture, &i32::MAX.to_be_bytes());
    closes(&fixture, &(-1_i32).to_be_bytes());
    closes(&fixture, &[0, 0, 0, 2, 0, 3]);
    // An API that does not exist, one that is not supported, a version that is not.
    closes(&fixture, &[0, 0, 0, 8, 0x7f, 0xff, 0, 0, 0, 0, 0, 7]);
    closes(&fixture, &[0, 0, 0, 8, 0, 17, 0, 0, 0, 0, 0, 7]);
    closes(&fixture, &[0, 0, 0, 8, 0, 3, 0, 99, 0, 0, 0, 7]);
}

#[test]
fn a_request_over_the_limit_closes_the_connection_before_it_is_read() {
    let fixture = Fixture::start(|config| config.max_request_bytes = 1_000);
    closes(&fixture, &1_001_i32.to_be_bytes());
}

#[test]
fn a_client_newer_than_the_broker_is_told_what_is_spoken() {
    let fixture = Fixture::start(|_| {});
    let mut stream = fixture.connect();
    stream.write_all(&[0, 0, 0, 8, 0, 18, 0, 99, 0, 0, 0, 7]).unwrap();
    let answer = read_frame(&mut stream).unwrap();
    assert_eq!(answer[..6], [0, 0, 0, 7, 0, 35]);
    let versions = RequestKind::ApiVersions(ApiVersionsRequest::default());
    let ResponseKind::ApiVersions(known) = ask(&mut stream, ApiKey::ApiVersions, 0, &versions) else {
        panic!("not an ApiVersions answer");
    };
    assert!(!known.api_keys.is_empty());
}

#[test]
fn connections_over_the_limit_are_closed_and_one_that_ends_makes_room() {
    let fixture = Fixture::start(|config| config.max_connections = 2);
    let mut first = fixture.connect();
    let mut second = fixture.connect();
    ask(&mut first, ApiKey::Metadata, 9, &metadata());
    ask(&mut second, ApiKey::Metadata, 9, &metadata());
    assert!(is_closed(&mut fixture.connect()));
    drop(first);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let mut third = fixture.connect();
        let sent = third.write_all(&frame(ApiKey::Metadata, 9, &metadata()));
        if sent.is_ok() && read_frame(&mut third).is_ok() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no room was made");
    }
    ask(&mut second, ApiKey::Metadata, 9, &metadata());
}

#[test]
fn no_damaged_byte_of_a_request_hurts_anybody_else() {
    let fixture = Fixture::start(|config| config.fsync = false);
    let mut neighbour = fixture.connect();
    for (key, oldest, newest) in supported(&fixture) {
        // These may wait for others once they are damaged; their bytes are read before that.
        let waits = matches!(key, ApiKey::Fetch | ApiKey::JoinGroup);
        for version in [oldest, newest] {
            let whole = frame(key, version, &sample(key, version));
            for damaged in 12..whole.len() {
                let mut bytes = whole.clone();
                bytes[damaged] = 0x7f;
                let mut stream = fixture.connect();
                stream.write_all(&bytes).unwrap();
                if !waits {
                    let _answered_or_closed = read_frame(&mut stream);
                }
            }
        }
        ask(&mut neighbour, ApiKey::Metadata, 9, &metadata());
    }
}
