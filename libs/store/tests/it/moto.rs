//! moto's server, a second implementation of S3 that shares no line with the first: `./test --fetch` brings it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::python;
use crate::s3_server::S3Server;

/// Python takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Moto {
    child: Child,
    port: u16,
    log: tempfile::NamedTempFile,
}

impl Moto {
    /// With one bucket, `lake`.
    pub(crate) async fn start() -> Self {
        let program = python::program("moto", "moto_server");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut moto = Self { child, port, log };
        let deadline = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while moto.ask("PUT", "/lake").await.is_none() {
            let ended = moto.child.try_wait().unwrap();
            let says = std::fs::read_to_string(moto.log.path()).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "moto does not start ({ended:?}): {says}");
            tick.tick().await;
        }
        moto
    }

    /// The proxy before it.
    pub(crate) async fn behind_proxy(&self) -> S3Server {
        S3Server::before(self.port).await
    }

    /// Uploads in parts that have neither ended nor been aborted.
    pub(crate) async fn open_uploads(&self) -> usize {
        self.ask("GET", "/lake?uploads").await.unwrap().matches("<UploadId>").count()
    }

    /// A bucket without objects and uploads.
    pub(crate) async fn forget(&self) {
        self.ask("POST", "/moto-api/reset").await.unwrap();
        self.ask("PUT", "/lake").await.unwrap();
    }

    /// Past the proxy; it asks nobody for a signature.
    async fn ask(&self, method: &str, path: &str) -> Option<String> {
        let address = format!("http://127.0.0.1:{}{path}", self.port);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = reqwest::Client::new().request(method, address).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
