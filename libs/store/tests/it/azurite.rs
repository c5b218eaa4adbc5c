//! Microsoft's emulator of Azure's blobs, with one container, `lake`. `./test --azurite` fetches it and runs what is tested
//! against it; it is too large for every run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::azure::{ACCOUNT, KEY};
use crate::s3_server::listen;

const PATIENCE: Duration = Duration::from_mins(1);

/// Asks for a container; nothing in this crate can.
const ASK: &str = r#"
const [port, account, key] = process.argv.slice(1);
const date = new Date().toUTCString(), path = `/${account}/lake`;
const sign = `PUT${"\n".repeat(12)}x-ms-date:${date}\nx-ms-version:2021-08-06\n/${account}${path}\nrestype:container`;
const hmac = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(sign).digest("base64");
const headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", Authorization: `SharedKey ${account}:${hmac}`};
fetch(`http://127.0.0.1:${port}${path}?restype=container`, {method: "PUT", headers})
  .then(async answer => { if (!answer.ok) throw await answer.text(); })
  .catch(error => { console.error(error); process.exit(1); });
"#;

pub(crate) struct Azurite {
    child: Child,
    port: u16,
}

impl Azurite {
    pub(crate) async fn start() -> Self {
        let (probe, port) = listen().await;
        drop(probe);
        let child = Command::new("node")
            .arg(program())
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args(["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let azurite = Self { child: child.expect("node starts"), port };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = Command::new("node").args(["-e", ASK, &port.to_string(), ACCOUNT, KEY]).output().unwrap();
            if asked.status.success() {
                return azurite;
            }
            let says = String::from_utf8_lossy(&asked.stderr);
            assert!(Instant::now() < deadline, "Azurite does not start: {says}");
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whole when the list of what was asked for lies beside it.
fn program() -> PathBuf {
    let home = std::env::var_os("PIPETTE_NODE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/pipette/node"),
        PathBuf::from,
    );
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/node/azurite.txt");
    let wanted = fs::read_to_string(list).unwrap();
    let fetched = fs::read_to_string(home.join("azurite/complete")).unwrap_or_default();
    assert!(fetched == wanted, "Azurite in {} is missing or of another version: run ./test --azurite", home.display());
    home.join("azurite/node_modules/azurite/dist/src/blob/main.js")
}
