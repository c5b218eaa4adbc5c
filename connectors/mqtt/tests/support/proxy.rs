//! A door in front of a broker that can be slammed or jammed.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // each test takes what it needs

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Passes bytes both ways.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    open: Mutex<Vec<TcpStream>>,
    /// Bytes are taken and go nowhere.
    jammed: AtomicBool,
    accepted: AtomicUsize,
}

impl Proxy {
    /// In front of a port of the loopback.
    pub(crate) fn to(port: u16) -> Self {
        let door = TcpListener::bind(("127.0.0.1", 0)).expect("a door");
        let (own, state) = (door.local_addr().expect("its address").port(), Arc::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for inside in door.incoming().map_while(Result::ok) {
                let Ok(outside) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let both = [(&inside, &outside), (&outside, &inside)];
                for (from, to) in both.map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap())) {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || pass(from, to, &shared));
                }
                shared.open.lock().unwrap().extend([inside, outside]);
            }
        });
        Self { port: own, state }
    }

    pub(crate) fn uri(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections stand and passes nothing; the next ones pass again after [`Proxy::cut`] and `jam(false)`.
    pub(crate) fn jam(&self, jammed: bool) {
        self.state.jammed.store(jammed, Ordering::Relaxed);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    let _ = from.set_read_timeout(Some(Duration::from_millis(100)));
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) if state.jammed.load(Ordering::Relaxed) => {}
            Ok(count) => {
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
