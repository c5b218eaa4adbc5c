//! Connections of clients: so many at a time, with heads of so many bytes, and none that is silent for ever.
//!
//! `mod.rs` serves on a listener through here; `request.rs` has the limits of bodies.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

/// How long a client may take from one request to the end of the next one's head, as in Apache's worker.
const HEAD_TIME: Duration = Duration::from_secs(90);
/// Of a request line and its headers: more is 431. Apache's worker stops at 8 KiB.
const HEAD_LIMIT: usize = 64 * 1024;
/// Connections at a time; more clients wait in the socket's queue.
const MOST: usize = 1_024;

/// Serves until `stop` resolves and the requests under way are answered.
pub(super) async fn serve<L: Listener>(mut listener: L, router: Router, stop: impl Future<Output = ()>) {
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_LIMIT);
    let (graceful, permits) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MOST)));
    let mut stop = pin!(stop);
    let mut full = false;
    loop {
        let accepted = async {
            let left = permits.available_permits();
            if left == 0 && !full {
                tracing::warn!("{MOST} connections are open on a REST listener: further clients wait until one ends");
            }
            full = left == 0 || (full && left < MOST / 2);
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await.0)
        };
        let (permit, socket) = tokio::select! { accepted = accepted => accepted, () = &mut stop => break };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(socket), service));
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A client of REST speaks no HTTP, or has gone away");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    /// What comes back until the server ends the connection, and when that is.
    async fn answer(sent: &[u8]) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Router::new(), std::future::pending()));
        let mut client = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        client.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        drop(client.read_to_end(&mut answer).await);
        server.abort();
        (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_ends_the_connection() {
        for sent in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\nX: ", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let (_, after) = answer(sent.as_bytes()).await;
            assert!((HEAD_TIME..HEAD_TIME * 2).contains(&after), "{sent:?}: {after:?}");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused() {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(HEAD_LIMIT));
        assert!(answer(head.as_bytes()).await.0.starts_with("HTTP/1.1 431 "));
    }
}
