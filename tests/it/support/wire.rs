//! The wire between a worker and its broker, which can be cut, stalled, slowed or deafened: what a network does.
//!
//! TCP's promise holds on it, as on a real one: bytes come in order and whole, or the connection ends. (The crate noxious
//! breaks that promise when a fault begins or ends: it drops what it held and then goes on, and it swaps the directions.
//! It has no reset either.) `kafka.rs` starts a broker that is reached through one; the proofs in `proofs/` set the fault.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pipette_kit::Dice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Of the slow wire, each way.
const LATENCY: Duration = Duration::from_millis(150);
/// Of the uneven wire, each way: between both.
const UNEVEN_MS: [u64; 2] = [50, 150];
/// Of the slow wire, each way: a bad mobile connection.
const BYTES_PER_SECOND: f64 = 512.0 * 1024.0;
/// So far: the chance of each has a seed of its own.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
const PIECE: usize = 16 * 1024;
/// Pieces under way in one direction before the sender is held up.
const UNDER_WAY: usize = 64;

/// What is wrong with the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every connection is reset, and each new one at once.
    Reset,
    /// Nothing moves, and nobody is told.
    BlackHole,
    /// Late and little.
    Slow,
    /// Late, one more than the other: a store far away.
    Uneven,
    /// On the connections that stand when it begins, what the worker sends arrives and every answer vanishes; new ones
    /// are sound. At its end the deaf ones are reset: the far side forgot them.
    HalfOpen,
}

/// A listening port in front of another one. Everything ends when it is dropped.
pub(crate) struct Wire {
    fault: watch::Sender<Fault>,
    _runtime: Runtime,
}

impl Wire {
    /// Connections to `port` end at `to`, both on loopback.
    pub(crate) fn lay(port: u16, to: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for the wire");
        let (fault, watched) = watch::channel(Fault::None);
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).expect("the wire's port");
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to, watched.clone()));
            }
        });
        Self { fault, _runtime: runtime }
    }

    /// From now on, for connections that stand and those to come.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

/// One connection, until one side closes it or a fault does.
async fn carry(mut client: TcpStream, to: u16, mut fault: watch::Receiver<Fault>) {
    let born = *fault.borrow_and_update();
    let far = if born == Fault::Reset { None } else { TcpStream::connect(("127.0.0.1", to)).await.ok() };
    let Some(mut broker) = far else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        tokio::select! {
            _ = pump(from_client, to_broker, false, fault.clone()) => false,
            _ = pump(from_broker, to_client, born != Fault::HalfOpen, fault.clone()) => false,
            () = end_by_fault(born, &mut fault) => true,
        }
    };
    if ended {
        let _ = (client.set_zero_linger(), broker.set_zero_linger());
    }
}

async fn end_by_fault(born: Fault, fault: &mut watch::Receiver<Fault>) {
    let mut before = born;
    while fault.changed().await.is_ok() {
        let now = *fault.borrow_and_update();
        if now == Fault::Reset || (before == Fault::HalfOpen && born != Fault::HalfOpen) {
            return;
        }
        before = now;
    }
}

/// One direction. `deaf`: what comes while the wire is half open vanishes.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    deaf: bool,
    mut fault: watch::Receiver<Fault>,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let looked_at = fault.clone();
    let read = async move {
        let mut buffer = vec![0; PIECE];
        loop {
            let read = from.read(&mut buffer).await?;
            let vanishes = deaf && *looked_at.borrow() == Fault::HalfOpen;
            if read == 0 || (!vanishes && sender.send((Instant::now(), buffer[..read].to_vec())).await.is_err()) {
                return Ok(());
            }
        }
    };
    let mut dice = Dice(CONNECTIONS.fetch_add(1, Ordering::Relaxed));
    let write = async {
        while let Some((came, piece)) = pieces.recv().await {
            let _ = fault.wait_for(|fault| *fault != Fault::BlackHole).await;
            let now = *fault.borrow();
            if now == Fault::Uneven {
                let late = UNEVEN_MS[0] + dice.below(UNEVEN_MS[1] - UNEVEN_MS[0]);
                sleep_until(came + Duration::from_millis(late)).await;
            }
            if now == Fault::Slow {
                sleep_until(came + LATENCY).await;
                #[expect(clippy::cast_precision_loss, reason = "a piece is small")]
                let length = Duration::from_secs_f64(piece.len() as f64 / BYTES_PER_SECOND);
                sleep_until(Instant::now() + length).await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net;

    use super::*;
    use crate::support::free_ports;

    /// A wire, the listener behind it, and how to reach it.
    fn laid() -> (Wire, net::TcpListener, u16) {
        let far = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let [port] = free_ports();
        (Wire::lay(port, far.local_addr().unwrap().port()), far, port)
    }

    /// Both ends of a new connection.
    fn connected(far: &net::TcpListener, port: u16) -> (net::TcpStream, net::TcpStream) {
        let near = net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (far, _) = far.accept().unwrap();
        for end in [&near, &far] {
            end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        (near, far)
    }

    fn passes(from: &mut net::TcpStream, to: &mut net::TcpStream, text: &[u8]) {
        from.write_all(text).unwrap();
        let mut came = vec![0; text.len()];
        to.read_exact(&mut came).unwrap();
        assert_eq!(came, text);
    }

    fn nothing_comes(to: &mut net::TcpStream) {
        to.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(to.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        to.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }

    #[test]
    fn a_sound_wire_carries_both_ways_and_a_reset_ends_all() {
        let (wire, listener, port) = laid();
        let (mut near, mut far) = connected(&listener, port);
        passes(&mut near, &mut far, b"there");
        passes(&mut far, &mut near, b"and back");
        wire.set(Fault::Reset);
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let mut new = net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(new.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        wire.set(Fault::None);
        let (mut near, mut far) = connected(&listener, port);
        passes(&mut near, &mut far, b"again");
    }

    #[test]
    fn a_black_hole_keeps_what_it_took_and_gives_it_back_in_order() {
        let (wire, listener, port) = laid();
        let (mut near, mut far) = connected(&listener, port);
        wire.set(Fault::BlackHole);
        near.write_all(b"one,").unwrap();
        nothing_comes(&mut far);
        near.write_all(b"two").unwrap();
        wire.set(Fault::None);
        let mut came = [0; 7];
        far.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"one,two");
    }

    #[test]
    fn a_slow_wire_is_late() {
        let (wire, listener, port) = laid();
        let (mut near, mut far) = connected(&listener, port);
        wire.set(Fault::Slow);
        let began = std::time::Instant::now();
        passes(&mut near, &mut far, &vec![b'x'; 100_000]);
        assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
    }

    #[test]
    fn an_uneven_wire_is_late_and_keeps_the_order() {
        let (wire, listener, port) = laid();
        let (mut near, mut far) = connected(&listener, port);
        wire.set(Fault::Uneven);
        let began = std::time::Instant::now();
        passes(&mut near, &mut far, b"asked");
        passes(&mut far, &mut near, b"answered");
        assert!(began.elapsed() > Duration::from_millis(2 * UNEVEN_MS[0]), "{:?}", began.elapsed());
    }

    #[test]
    fn a_half_open_connection_hears_nothing_more_and_is_reset_at_the_end() {
        let (wire, listener, port) = laid();
        let (mut near, mut far) = connected(&listener, port);
        wire.set(Fault::HalfOpen);
        passes(&mut near, &mut far, b"asked");
        far.write_all(b"answered").unwrap();
        nothing_comes(&mut near);
        let (mut new, mut new_far) = connected(&listener, port);
        passes(&mut new_far, &mut new, b"sound");
        wire.set(Fault::None);
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        passes(&mut new, &mut new_far, b"still sound");
    }
}
