use pipette_api::ErrorKind;

use super::*;

fn chunk() -> Chunk {
    Chunk {
        id: ChunkId(*b"0123456789abcdef"),
        index: 2,
        count: Some(3),
        offset: Some(10),
        total: Some(15),
        crc: Some(Chunk::crc_of(b"tail!")),
        digest: Some(Digest::of(b"whole")),
    }
}

fn headers(pairs: &[(&str, &str)]) -> KafkaHeaders {
    pairs.iter().map(|(name, value)| (Arc::from(*name), Some(Blob::whole(value.to_string()).unwrap()))).collect()
}

#[test]
fn pieces_are_read_as_they_are_written() {
    let bare = Chunk { index: 1, count: None, total: None, crc: None, digest: None, ..chunk() };
    for piece in [chunk(), bare, Chunk { index: 0, offset: Some(0), total: Some(5 << 40), ..chunk() }] {
        let mut written = headers(&[("mine", "stays")]);
        piece.write(Format::Native, &mut written).unwrap();
        let size: usize = written.iter().map(|(name, value)| name.len() + value.as_ref().unwrap().len() + 10).sum();
        assert!(size < HEADERS_SIZE, "{size}");
        assert_eq!(Chunk::read(&written).unwrap(), Some((Format::Native, piece)));
        Chunk::strip(&mut written);
        assert_eq!(written.len(), 1);
    }
    assert_eq!(Chunk::read(&headers(&[("mine", "1")])).unwrap(), None);
}

#[test]
fn the_native_headers_are_text() {
    let mut written = KafkaHeaders::new();
    chunk().write(Format::Native, &mut written).unwrap();
    let text: Vec<String> = written
        .iter()
        .map(|(name, value)| format!("{name}={}", std::str::from_utf8(value.as_ref().unwrap().as_bytes()).unwrap()))
        .collect();
    let digest = Digest::of(b"whole");
    assert_eq!(
        text.join(" "),
        format!(
            "chunk-v=1 chunk-id=30313233343536373839616263646566 chunk-index=2 chunk-count=3 chunk-offset=10 \
             chunk-total=15 chunk-crc32c={:08x} chunk-digest={digest}",
            Chunk::crc_of(b"tail!")
        )
    );
    assert_eq!(Chunk::crc_of(b"123456789"), 0xE306_9283, "the check value of CRC-32C");
}

#[test]
fn linkedins_header_has_its_layout_and_its_limit() {
    let mut written = KafkaHeaders::new();
    chunk().write(Format::LinkedIn, &mut written).unwrap();
    let bytes = written[0].1.as_ref().unwrap();
    let expected = [&[2][..], b"89abcdef", b"01234567", &[0, 0, 0, 2], &[0, 0, 0, 3], &[0, 0, 0, 15]].concat();
    assert_eq!((&*written[0].0, bytes.as_bytes()), ("_lm", &expected[..]));
    let read = Chunk { offset: None, crc: None, digest: None, ..chunk() };
    assert_eq!(Chunk::read(&written).unwrap(), Some((Format::LinkedIn, read)));
    for piece in
        [Chunk { total: Some(1 << 31), ..chunk() }, Chunk { total: None, ..chunk() }, Chunk { count: None, ..chunk() }]
    {
        assert_eq!(piece.write(Format::LinkedIn, &mut KafkaHeaders::new()).unwrap_err().kind(), ErrorKind::Data);
    }
    for bytes in [&expected[1..], &[&[1], &expected[1..]].concat(), &[&expected[..25], &[255; 4]].concat(), &[]] {
        let header = vec![(Arc::from("_lm"), Some(Blob::whole(bytes.to_vec()).unwrap()))];
        assert_eq!(Chunk::read(&header).unwrap_err().kind(), ErrorKind::Data, "{bytes:?}");
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let id = "30313233343536373839616263646566";
    let good = [
        ("chunk-v", "1"),
        ("chunk-id", id),
        ("chunk-index", "1"),
        ("chunk-count", "3"),
        ("chunk-offset", "10"),
        ("chunk-total", "15"),
        ("chunk-crc32c", "ff"),
    ];
    assert!(Chunk::read(&headers(&good)).unwrap().is_some());
    for (name, value) in [
        ("chunk-v", "2"),
        ("chunk-id", "3031"),
        ("chunk-id", "+0313233343536373839616263646566"),
        ("chunk-index", "3"),
        ("chunk-index", "-1"),
        ("chunk-index", "+1"),
        ("chunk-index", "0"),
        ("chunk-index", "4294967296"),
        ("chunk-count", "x"),
        ("chunk-offset", "0"),
        ("chunk-offset", "16"),
        ("chunk-offset", "18446744073709551616"),
        ("chunk-total", "9223372036854775808"),
        ("chunk-crc32c", "+f"),
        ("chunk-crc32c", "fffffffff"),
        ("chunk-digest", "md5:1"),
    ] {
        let changed = [&good[..], &[(name, value)]].concat();
        assert_eq!(Chunk::read(&headers(&changed)).unwrap_err().kind(), ErrorKind::Data, "{name}={value}");
    }
    for missing in ["chunk-id", "chunk-index", "chunk-count", "chunk-offset"] {
        let left: Vec<_> = good.iter().copied().filter(|(name, _)| *name != missing).collect();
        assert!(Chunk::read(&headers(&left)).is_err(), "{missing}");
    }
}

#[test]
fn a_piece_is_held_against_its_headers() {
    chunk().check(b"tail!", 15).unwrap();
    for (piece, body, max) in [
        (chunk(), &b"tail?"[..], 15),
        (chunk(), b"tail", 15),
        (chunk(), b"tail!!", 99),
        (chunk(), b"tail!", 14),
        (Chunk { total: None, crc: None, ..chunk() }, b"tail!", 14),
        (Chunk { total: Some(1 << 40), ..chunk() }, b"tail!", 1 << 30),
    ] {
        assert_eq!(piece.check(body, max).unwrap_err().kind(), ErrorKind::Data, "{piece:?}");
    }
}

#[test]
fn ids_by_position_come_again_and_random_ones_do_not() {
    let id = |partition, offset, ordinal| ChunkId::of_position("lab", partition, offset, ordinal);
    assert_eq!(id("p", "1", 0), id("p", "1", 0));
    for other in [id("p1", "", 0), id("p", "1", 1), id("q", "1", 0)] {
        assert_ne!(id("p", "1", 0), other);
    }
    assert_ne!(ChunkId::random(), ChunkId::random());
    assert_eq!((count(0, 10).unwrap(), count(10, 10).unwrap(), count(11, 10).unwrap()), (1, 1, 2));
    assert!(count(1 << 50, 1024).is_err());
}

proptest::proptest! {
    #[test]
    fn no_header_makes_it_panic(values in proptest::collection::vec("[0-9a-f+x-]{0,34}", 8), lm in proptest::collection::vec(proptest::num::u8::ANY, 0..32)) {
        let pairs: Vec<(&str, &str)> = HEADERS.iter().copied().zip(values.iter().map(String::as_str)).collect();
        let mut all = headers(&pairs);
        all[0].1 = Some(Blob::whole("1").unwrap());
        let _ = Chunk::read(&all);
        let lm = vec![(Arc::from("_lm"), Some(Blob::whole(lm).unwrap()))];
        if let Ok(Some((_, chunk))) = Chunk::read(&lm) {
            let mut again = KafkaHeaders::new();
            chunk.write(Format::LinkedIn, &mut again).unwrap();
            proptest::prop_assert_eq!(Chunk::read(&again).unwrap(), Some((Format::LinkedIn, chunk)));
        }
    }
}
