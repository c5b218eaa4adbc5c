//! S3 in a process of its own, which outlives the workers that are killed: `s3s-fs`, as the store's own tests have it.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{free_ports, tail, wait};

/// A running server with one bucket. It is gone when this is dropped, its files stay.
pub(crate) struct Bucket {
    folder: PathBuf,
    port: u16,
    server: Child,
}

impl Bucket {
    /// Serves what is in `folder`, which is made.
    pub(crate) fn start(folder: &Path) -> Self {
        let [port] = free_ports();
        Self::start_at(folder, port)
    }

    /// The same at a port that somebody knows already.
    pub(crate) fn start_at(folder: &Path, port: u16) -> Self {
        fs::create_dir_all(folder).expect("the server's folder");
        let log = folder.with_extension("log");
        let mut command = Command::new(program());
        command.arg(folder).arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::null());
        let server =
            command.stderr(File::create(&log).expect("the server's log")).spawn().expect("the S3 server starts");
        wait::until("the S3 server", Duration::from_secs(30), || match TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}: {}", tail(&log, 5))),
        });
        Self { folder: folder.to_owned(), port, server }
    }

    /// What a connector must know, by the names of its keys without their prefix.
    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        Self::keys_at(self.port)
    }

    /// The same of one that is not there yet.
    pub(crate) fn keys_at(port: u16) -> Vec<(String, String)> {
        let keys = [
            ("store.uri", "s3://lake/inbox".to_owned()),
            ("store.allow.http", "true".to_owned()),
            ("store.options.aws_endpoint", format!("http://127.0.0.1:{port}")),
            ("store.options.aws_region", "us-east-1".to_owned()),
            ("store.options.aws_access_key_id", "AKIAEXAMPLE".to_owned()),
            ("store.options.aws_secret_access_key", "hunter2hunter2hunter2".to_owned()),
        ];
        keys.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// The bucket's objects are files below this one.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("lake")
    }

    /// How many files the server keeps of uploads in parts, which change as these go on.
    pub(crate) fn traces(&self) -> usize {
        self.named(".upload").count()
    }

    /// How many uploads in parts have neither ended nor been aborted: those that it would list.
    pub(crate) fn open_uploads(&self) -> usize {
        self.named(".upload-").count()
    }

    fn named(&self, begin: &'static str) -> impl Iterator<Item = fs::DirEntry> {
        let entries = fs::read_dir(&self.folder).expect("the server's folder").filter_map(Result::ok);
        entries.filter(move |entry| entry.file_name().to_string_lossy().starts_with(begin))
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// `cargo test --workspace` builds it, for one crate one has to ask. Which profile it has matters to nobody.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let profiles = own.ancestors().nth(3).expect("the target folder");
    let mut folders = vec![own.ancestors().nth(2).expect("the folder of the profile").to_owned()];
    folders.extend(["debug", "perf", "release"].map(|name| profiles.join(name)));
    let found = folders.into_iter().map(|folder| folder.join("examples/lake")).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("there is no S3 server: run cargo build -p pipette-store --example lake"))
}
