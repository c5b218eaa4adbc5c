//! The S3 server of the store's own tests (`lake.rs`), in the process of the tests: it outlives the workers that are killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tokio::runtime::{Builder, Runtime};

use super::lake;

/// A running server with one bucket. It is gone when this is dropped, its files stay.
pub(crate) struct Bucket {
    folder: PathBuf,
    port: u16,
    runtime: Option<Runtime>,
}

impl Bucket {
    /// Serves what is in `folder`, which is made.
    pub(crate) fn start(folder: &Path) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let service = lake::service(folder);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket of the runtime");
        let port = listener.local_addr().expect("a bound port").port();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket of the runtime");
            let work = move |request| {
                let service = service.clone();
                async move { lake::work(&service, request).await }
            };
            lake::serve(listener, work).await;
        });
        Self { folder: folder.to_owned(), port, runtime: Some(runtime) }
    }

    /// What a connector must know, by the names of its keys without their prefix.
    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        let options = lake::options(self.port).map(|(name, value)| (format!("store.options.{name}"), value));
        let own = [("store.uri", "s3://lake/inbox"), ("store.allow.http", "true")];
        own.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().chain(options).collect()
    }

    /// The bucket's objects are files below this one.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("lake")
    }

    /// How many files the server keeps of uploads in parts, which change as these go on.
    pub(crate) fn traces(&self) -> usize {
        lake::open_uploads(&self.folder).len()
    }

    /// How many uploads in parts it would list.
    pub(crate) fn open_uploads(&self) -> usize {
        let name = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".upload-"));
        lake::open_uploads(&self.folder).iter().filter(|path| name(path)).count()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
