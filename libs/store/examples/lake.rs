//! An S3 server for the proofs of the worker, whose process is measured and killed while this one goes on:
//! `lake FOLDER PORT`. It ends with its standard input, so that it never outlives a test. No server for anything else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/it/lake.rs"]
mod lake;

use std::path::PathBuf;

use tokio::net::TcpListener;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).expect("a port");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let service = lake::service(&folder);
        let work = move |request| {
            let service = service.clone();
            async move { lake::work(&service, request).await }
        };
        lake::serve(listener, work).await;
    });
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    runtime.shutdown_background();
}
