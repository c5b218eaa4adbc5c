//! A client that sends what the table says to the letter: no library would send half of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::table::Step;

/// Apache's worker gives up on its herder after 90 s.
const PATIENCE: Duration = Duration::from_secs(100);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// Sends a step whose placeholders are filled in.
pub(crate) fn send(address: &str, step: &Step) -> Result<Reply, String> {
    let wrong = |error: std::io::Error| format!("{} {}: {error}", step.method, step.path);
    let mut stream = TcpStream::connect(address).map_err(wrong)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    let given = |name: &str| step.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut head = format!("{} {} HTTP/1.1\r\n", step.method, step.path);
    if !given("connection") {
        head += "Connection: close\r\n";
    }
    if !given("host") {
        head.extend(["Host: ", address, "\r\n"]);
    }
    if !given("content-length") && (!step.body.is_empty() || step.method != "GET") {
        head.extend(["Content-Length: ", &step.body.len().to_string(), "\r\n"]);
    }
    if !given("content-type") && !step.body.is_empty() {
        head += "Content-Type: application/json\r\n";
    }
    for (name, value) in step.headers.iter().filter(|(_, value)| !value.is_empty()) {
        head.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all(format!("{head}\r\n{}", step.body).as_bytes()).map_err(wrong)?;
    let (mut bytes, mut part) = (Vec::new(), [0; 16_384]);
    loop {
        // A server that refuses a request before it has read all of it may cut the line behind its answer.
        let read = stream.read(&mut part).or_else(|error| if bytes.is_empty() { Err(error) } else { Ok(0) });
        let count = read.map_err(wrong)?;
        bytes.extend_from_slice(&part[..count]);
        match parse(&bytes, step.method == "HEAD", count == 0) {
            Some(reply) => return Ok(reply),
            None if count == 0 => return Err(format!("no HTTP: {}", String::from_utf8_lossy(&bytes))),
            None => {}
        }
    }
}

/// The answer, once it is whole; at the `end` of the line everything is.
fn parse(bytes: &[u8], no_body: bool, at_end: bool) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let body = &bytes[end + 4..];
    let length = header("content-length").and_then(|text| text.parse::<usize>().ok());
    let body = match length {
        _ if no_body || status == 204 => Vec::new(),
        _ if header("transfer-encoding") == Some("chunked") => unchunked(body)?,
        Some(length) => body.get(..length).map(<[u8]>::to_vec).or_else(|| at_end.then(|| body.to_vec()))?,
        None if at_end => body.to_vec(),
        None => return None,
    };
    Some(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 4 + size..)?;
    }
}

#[test]
fn chunks_are_put_together() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
    assert!(parse(&answer[..60], false, false).is_none());
    let reply = parse(answer, false, false).unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "abcde"));
    assert!(reply.headers.contains(&("x-a".to_owned(), "b".to_owned())));
}
