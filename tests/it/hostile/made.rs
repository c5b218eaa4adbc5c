//! Requests that nobody means well with, a kind at a time.

use std::fmt;

use pipette_kit::dice::Dice;

/// What a request is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// HTTP; whether it makes sense is for the answer to say.
    Whole,
    /// HTTP that has to be refused.
    Wrong,
    /// Not HTTP, or not all of it.
    Broken,
    /// Two requests or one, as one reads it: refused, and nothing behind it is answered.
    Smuggled,
}

pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    pub(super) made: Made,
    /// The client says that nothing more will come.
    pub(super) ends: bool,
}

impl Request {
    fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), made: Made::Whole, ends: false }
    }

    fn wrong(bytes: impl Into<Vec<u8>>) -> Self {
        Self { made: Made::Wrong, ..Self::whole(bytes) }
    }

    fn broken(bytes: impl Into<Vec<u8>>) -> Self {
        Self { made: Made::Broken, ends: true, ..Self::whole(bytes) }
    }

    pub(super) fn is_head(&self) -> bool {
        self.bytes.starts_with(b"HEAD ")
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(600)]);
        write!(formatter, "{:?}, {} bytes: {text:?}", self.made, self.bytes.len())
    }
}

const METHODS: [&str; 9] = ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"];
const PATHS: [&str; 27] = [
    "/",
    "/health",
    "/metrics",
    "/openapi.json",
    "/connectors",
    "/connectors?expand=status&expand=info",
    "/connectors/N",
    "/connectors/N/config",
    "/connectors/N/status",
    "/connectors/N/tasks",
    "/connectors/N/tasks/0/status",
    "/connectors/N/tasks/0/restart",
    "/connectors/N/restart?includeTasks=true",
    "/connectors/N/pause",
    "/connectors/N/resume",
    "/connectors/N/stop",
    "/connectors/N/topics",
    "/connectors/N/topics/reset",
    "/connectors/N/offsets",
    "/connectors/N/fence",
    "/connectors/N/dlq/replay",
    "/connectors/N/files",
    "/connector-plugins?connectorsOnly=false",
    "/connector-plugins/N/config",
    "/connector-plugins/N/config/validate",
    "/transforms/preview",
    "/admin/loggers/N",
];
/// Names, and what a name is not.
const NAMES: [&str; 30] = [
    "guarded",
    "guarded",
    "a",
    "b",
    "FileStreamSource",
    "root",
    "%2e%2e",
    "..",
    ".",
    "a%2Fb",
    "%2F..%2F..%2Fetc%2Fpasswd",
    "a%0d%0aSet-Cookie:%20x=y",
    "%0d%0a%0d%0aHTTP/1.1%20200%20OK",
    "%00",
    "a%00b",
    "%",
    "%2",
    "%zz",
    "%C3%28",
    "%ff%fe",
    "%ed%a0%80",
    "%252e%252e%252f",
    "%u0041",
    "a;b=c",
    ";",
    "é",
    "{x}",
    "a%7Bx%7D",
    "%F0%9F%98%80",
    "//",
];
const NUMBERS: [&str; 8] = ["-1", "2147483648", "99999999999999999999", "1e3", "0x0", "%30", "NaN", "00"];

/// `secrets` is a file that a config provider reads.
pub(super) fn request(dice: &mut Dice, secrets: &str) -> Request {
    match dice.below(100) {
        0..25 => ordinary(dice),
        25..45 => with_json(dice, secrets),
        45..55 => broken_line(dice),
        55..65 => headers(dice),
        65..75 => smuggling(dice),
        75..83 => chunked(dice),
        83..88 => cut(dice),
        88..94 => garbage(dice),
        94..99 => deep(dice),
        _ => large(dice),
    }
}

fn pick<'a>(dice: &mut Dice, from: &[&'a str]) -> &'a str {
    from[dice.index(from.len())]
}

fn target(dice: &mut Dice) -> String {
    let name = match dice.below(12) {
        0 => "n".repeat(dice.index(3_000) + 1),
        1 => noise(dice, 12).iter().fold(String::new(), |path, byte| path + &format!("%{byte:02x}")),
        _ => pick(dice, &NAMES).to_owned(),
    };
    let mut path = pick(dice, &PATHS).replace('N', &name);
    if dice.percent(10) {
        path = path.replace("/0/", &format!("/{}/", pick(dice, &NUMBERS)));
    }
    if dice.percent(10) {
        path +=
            pick(dice, &["/", "//", "/.", "/..", "?", "?a=%zz", "?=&&=", "#x", ";x", "?expand=%00", "?scope=cluster"]);
    }
    path
}

/// A request of parts that fit, with a body where `json` is none.
fn put_together(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const JSON: &str = "Content-Type: application/json\r\n";

fn ordinary(dice: &mut Dice) -> Request {
    let path = target(dice);
    // What is no byte of a path is not HTTP.
    let plain = path.is_ascii() && !path.contains(['#', '{', '}']);
    let kind = pick(dice, &["", "", JSON, "Content-Type: text/plain\r\n", "Content-Type: ;\r\n", "Accept: x/y\r\n"]);
    let bytes = put_together(pick(dice, &METHODS), &path, kind, b"");
    if plain { Request::whole(bytes) } else { Request::broken(bytes) }
}

/// Bodies for the paths that read one.
fn with_json(dice: &mut Dice, secrets: &str) -> Request {
    let body = match dice.below(10) {
        0 => noise(dice, 200),
        1 => pick(dice, &WRONG_BODIES).as_bytes().to_vec(),
        2 => mangled(dice),
        3 => configuration(dice, secrets).into_bytes(),
        _ => value(dice, 4).replace("SECRETS", secrets).into_bytes(),
    };
    let (method, path) = [
        ("POST", "/connectors"),
        ("PUT", "/connectors/a/config"),
        ("PATCH", "/connectors/guarded/config"),
        ("PUT", "/connectors/guarded/config"),
        ("PATCH", "/connectors/guarded/offsets"),
        ("PUT", "/connector-plugins/FileStreamSource/config/validate"),
        ("POST", "/connectors/guarded/dlq/replay"),
        ("POST", "/transforms/preview"),
        ("PUT", "/admin/loggers/a"),
    ][dice.index(9)];
    // Made-up values are no configuration, but an empty patch is one.
    Request::whole(put_together(method, path, JSON, &body))
}

const WRONG_BODIES: [&str; 16] = [
    "",
    "null",
    "[]",
    "\"x\"",
    "{",
    "}",
    "{}{}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{'a':1}",
    "\u{feff}{}",
    "{\"a\":\"\\ud800\"}",
    "{\"a\":NaN}",
    "{\"a\":1e999999}",
    "{\"name\":\"a\",\"config\":{\"a\":{}}}",
    "{\"name\":\"a\\u0000b\\r\\nSet-Cookie: x\",\"config\":{\"connector.class\":\"FileStreamSource\",\"topic\":\"t\"}}",
];

/// Words that members of bodies have, and some that secrets hide behind.
const WORDS: [&str; 26] = [
    "name",
    "config",
    "initial_state",
    "connector.class",
    "FileStreamSource",
    "FileStreamSink",
    "tasks.max",
    "topic",
    "topics",
    "transforms",
    "transforms.a.type",
    "org.apache.kafka.connect.transforms.HoistField$Value",
    "key.converter",
    "offsets",
    "partition",
    "offset",
    "records",
    "live",
    "level",
    "TRACE",
    "guarded",
    "${file:SECRETS:password}",
    "${file:/etc/passwd:root}",
    "producer.override.ssl.key.password",
    "producer.override.linger.ms",
    "config.providers.file.class",
];

/// A source's configuration, in which one key is a secret or nonsense.
fn configuration(dice: &mut Dice, secrets: &str) -> String {
    let value =
        pick(dice, &["${file:SECRETS:password}", "x${file:SECRETS:password}y", "${file:SECRETS:none}", "-1", ""]);
    let value = value.replace("SECRETS", secrets);
    let key = pick(dice, &KEYS);
    format!(r#"{{"connector.class":"FileStreamSource","tasks.max":"1","topic":"t","file":"/none","{key}":"{value}"}}"#)
}

/// Keys of every type and origin.
pub(super) const KEYS: [&str; 26] = [
    "name",
    "connector.class",
    "connector.plugin.version",
    "tasks.max",
    "tasks.max.enforce",
    "file",
    "batch.size",
    "errors.tolerance",
    "errors.retry.timeout",
    "errors.log.enable",
    "config.action.reload",
    "transforms",
    "predicates",
    "key.converter",
    "header.converter",
    "header.converter.converter.type",
    "exactly.once.support",
    "transaction.boundary",
    "topic.creation.groups",
    "topic.creation.default.partitions",
    "offsets.storage.topic",
    "producer.override.linger.ms",
    "producer.override.acks",
    "producer.override.compression.type",
    "producer.override.ssl.key.password",
    "producer.override.sasl.jaas.config",
];

fn value(dice: &mut Dice, depth: u32) -> String {
    match dice.below(if depth == 0 { 6 } else { 10 }) {
        0 => pick(dice, &["null", "true", "false", "0", "-1", "1.5", "1e400", "123456789012345678901234567890"])
            .to_owned(),
        1..4 => format!("{:?}", pick(dice, &WORDS)),
        4 => {
            format!("\"{}\"", String::from_utf8_lossy(&noise(dice, 30)).escape_default().to_string().replace('\'', ""))
        }
        5 => format!("\"{}\"", "x".repeat(dice.index(3_000))),
        6 => format!("[{}]", (0..dice.below(4)).map(|_| value(dice, depth - 1)).collect::<Vec<_>>().join(",")),
        _ => {
            let member = |dice: &mut Dice| format!("{:?}:{}", pick(dice, &WORDS), value(dice, depth - 1));
            format!("{{{}}}", (0..dice.below(6)).map(|_| member(dice)).collect::<Vec<_>>().join(","))
        }
    }
}

/// Nearly right: a byte of a good configuration is another one.
fn mangled(dice: &mut Dice) -> Vec<u8> {
    let mut body = br#"{"connector.class":"FileStreamSource","tasks.max":"1","topic":"t","name":"a"}"#.to_vec();
    let at = dice.index(body.len());
    body[at] = noise(dice, 1).first().copied().unwrap_or(b'?');
    body
}

fn broken_line(dice: &mut Dice) -> Request {
    let line = match dice.below(14) {
        0 => "GET /".to_owned(),
        1 => "GET / HTTP/9.9".to_owned(),
        2 => "GET  /  HTTP/1.1".to_owned(),
        3 => "/ GET HTTP/1.1".to_owned(),
        4 => "GET http://[::1 HTTP/1.1".to_owned(),
        5 => "CONNECT a:1 HTTP/1.1".to_owned(),
        6 => "GET * HTTP/1.1".to_owned(),
        7 => format!("{} / HTTP/1.1", "A".repeat(dice.index(20_000) + 1)),
        8 => format!("GET /{} HTTP/1.1", "a".repeat(66_000 + dice.index(400_000))),
        9 => "GET / HTTP/1.1 HTTP/1.1".to_owned(),
        10 => "G\u{0}T / HTTP/1.1".to_owned(),
        11 => "PRI * HTTP/2.0\r\n\r\nSM".to_owned(),
        12 => String::new(),
        _ => format!("GET {} HTTP/1.1", String::from_utf8_lossy(&noise(dice, 40))),
    };
    Request::broken(format!("{line}\r\nHost: worker\r\nConnection: close\r\n\r\n"))
}

fn headers(dice: &mut Dice) -> Request {
    let more = match dice.below(9) {
        0 => "X: y\r\n".repeat(dice.index(4_000) + 101),
        1 => format!("X: {}\r\n", "y".repeat(66_000 + dice.index(600_000))),
        2 => format!("{}: y\r\n", "X".repeat(dice.index(60_000) + 1)),
        3 => "X\r\n".to_owned(),
        4 => ": y\r\n".to_owned(),
        5 => "X : y\r\n".to_owned(),
        6 => "X: a\r\n b\r\n".to_owned(),
        7 => format!("X: {}\r\n", String::from_utf8_lossy(&noise(dice, 50))),
        _ => "Host: other\r\nHost: third\r\nContent-Type: a\r\nContent-Type: application/json\r\n".to_owned(),
    };
    Request::broken(format!("GET /connectors HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n{more}\r\n"))
}

/// Two servers in a row that see different ends of a request serve one client another's answer. No such form may be taken.
fn smuggling(dice: &mut Dice) -> Request {
    let hidden = "GET /connectors/guarded/config HTTP/1.1\r\nHost: worker\r\n\r\n";
    let (lengths, body) = match dice.below(8) {
        0 => ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nX"),
        1 => ("Content-Length: 4\r\nContent-Length: 5\r\n", "{}  "),
        2 => ("Content-Length: +2\r\n", "{}"),
        3 => ("Content-Length: 2, 3\r\n", "{} "),
        4 => ("Content-Length: -1\r\n", "{}"),
        5 => ("Content-Length: 99999999999999999999\r\n", "{}"),
        6 => ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        _ => ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
    };
    let text = format!("PUT /connectors/a/config HTTP/1.1\r\nHost: worker\r\n{JSON}{lengths}\r\n{body}{hidden}");
    Request { made: Made::Smuggled, ..Request::broken(text) }
}

fn chunked(dice: &mut Dice) -> Request {
    let head = format!(
        "PUT /connectors/a/config HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n"
    );
    match dice.below(8) {
        0 => Request::broken(format!("{head}zz\r\n{{}}\r\n0\r\n\r\n")),
        1 => Request::broken(format!("{head}ffffffffffffffffff\r\n{{}}\r\n0\r\n\r\n")),
        2 => Request::broken(format!("{head}2\r\n{{}}XX0\r\n\r\n")),
        3 => Request::broken(format!("{head}-2\r\n{{}}\r\n0\r\n\r\n")),
        4 => Request::broken(format!("{head}2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(dice.index(40_000)))),
        5 => Request::broken(format!("{head}2\r\n{{}}\r\n0\r\n{}\r\n", "T: x\r\n".repeat(dice.index(3_000)))),
        6 => Request::wrong(format!("{head}{}0\r\n\r\n", "1\r\n \r\n".repeat(dice.index(3_000)))),
        _ => Request::wrong(format!("{head}2\r\n[]\r\n0\r\n\r\n")),
    }
}

/// A good request that is cut off.
fn cut(dice: &mut Dice) -> Request {
    let body = br#"{"connector.class":"FileStreamSource","topic":"t"}"#;
    let mut bytes = put_together("PUT", "/connectors/a/config", JSON, body);
    bytes.truncate(dice.index(bytes.len()));
    Request::broken(bytes)
}

fn garbage(dice: &mut Dice) -> Request {
    let length = dice.index(3_000);
    let mut bytes = noise(dice, length);
    if dice.percent(20) {
        // The beginning of a handshake.
        bytes.splice(..0, [0x16, 0x03, 0x01, 0x02, 0x00]);
    }
    Request::broken(bytes)
}

fn deep(dice: &mut Dice) -> Request {
    let depth = dice.index(200_000) + 200;
    let body = match dice.below(3) {
        0 => "[".repeat(depth),
        1 => format!("{{\"records\":{}{}}}", "[".repeat(depth), "]".repeat(depth)),
        _ => "{\"config\":".repeat(depth / 8),
    };
    let path = pick(dice, &["/transforms/preview", "/connectors", "/connectors/guarded/dlq/replay"]);
    Request::wrong(put_together("POST", path, JSON, body.as_bytes()))
}

/// Beyond the limit of bodies, or one that says so and sends little.
fn large(dice: &mut Dice) -> Request {
    let path = pick(dice, &["/connectors", "/transforms/preview"]);
    if dice.percent(50) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n{JSON}");
        return Request::broken(format!("{head}Content-Length: 1000000000000\r\n\r\n{{"));
    }
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(11 << 20));
    Request::wrong(put_together("POST", path, JSON, body.as_bytes()))
}

/// Any bytes.
fn noise(dice: &mut Dice, length: usize) -> Vec<u8> {
    (0..length).map(|_| dice.bits().to_le_bytes()[0]).collect()
}
