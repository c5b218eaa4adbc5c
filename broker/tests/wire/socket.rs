//! A client that sends what it is told to.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use pipette_broker::{Broker, BrokerConfig};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub broker: Broker,
    _folder: TempDir,
}

impl Fixture {
    pub(crate) fn start(change: impl FnOnce(&mut BrokerConfig)) -> Fixture {
        let folder = TempDir::new().unwrap();
        let mut config = BrokerConfig::on_any_port(folder.path());
        change(&mut config);
        Fixture { broker: Broker::start(config).unwrap(), _folder: folder }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.broker.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub(crate) fn ask(&self, key: ApiKey, version: i16, request: &RequestKind) -> ResponseKind {
        ask(&mut self.connect(), key, version, request)
    }
}

pub(crate) fn ask(stream: &mut TcpStream, key: ApiKey, version: i16, request: &RequestKind) -> ResponseKind {
    stream.write_all(&frame(key, version, request)).unwrap();
    let mut answer = read_frame(stream).unwrap_or_else(|error| panic!("{key:?} version {version}: {error}"));
    let header = ResponseHeader::decode(&mut answer, key.response_header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 7);
    let response = ResponseKind::decode(key, &mut answer, version);
    let response = response.unwrap_or_else(|error| panic!("{key:?} version {version}: {error}"));
    assert!(!answer.has_remaining(), "{key:?} version {version}: {} bytes too many", answer.remaining());
    response
}

pub(crate) fn frame(key: ApiKey, version: i16, request: &RequestKind) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("wire")));
    let mut body = BytesMut::new();
    header.encode(&mut body, key.request_header_version(version)).unwrap();
    let encoded = request.encode(&mut body, version);
    encoded.unwrap_or_else(|error| panic!("{key:?} version {version}: {error}"));
    let mut frame = Vec::new();
    frame.put_i32(i32::try_from(body.len()).unwrap());
    frame.extend_from_slice(&body);
    frame
}

pub(crate) fn read_frame(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body)?;
    Ok(Bytes::from(body))
}

/// Whether the broker closes the connection without an answer.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}
