//! moto's server, a second implementation of S3 that shares no line with the one in this process: `./test --fetch` brings it.
//!
//! The tests of `libs/store` take this file too.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::python;

/// Python takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server with one bucket, `lake`; it ends with this.
pub(crate) struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let program = python::program("moto", "moto_server");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
        let log = tempfile::NamedTempFile::new().expect("a log");
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("a second handle"))
            .spawn();
        let mut moto = Self { child: child.expect("moto starts"), port };
        let deadline = Instant::now() + PATIENCE;
        while moto.ask("PUT", "/lake").is_none() {
            let ended = moto.child.try_wait().expect("its state");
            let says = fs::read_to_string(log.path()).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "moto does not start ({ended:?}): {says}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        moto
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The body of an answer; nothing when there is none, or none that is content. It asks nobody for a signature.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
