//! A device that publishes numbers at a rate, over MQTT 3.1.1 and nothing but a socket, and repeats what the broker has not
//! acknowledged when a connection is lost.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Messages without an acknowledgement; a broker ends connections that exceed its own limit.
const IN_FLIGHT: usize = 20;
/// How long a broker may take to save what it has.
const SAVING: Duration = Duration::from_secs(1);

/// What is published, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) port: u16,
    /// 1 or 2.
    pub(crate) qos: u8,
    /// Messages a second.
    pub(crate) rate: u64,
    pub(crate) topics: u64,
    /// Bytes of a payload, 8 at least.
    pub(crate) size: usize,
}

/// A publishing thread.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    thread: JoinHandle<Published>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    rewinds: Mutex<Option<SystemTime>>,
}

/// What was published in the end: the numbers from 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Published {
    pub(crate) numbers: u64,
    /// How many were published more than once.
    pub(crate) repeated: u64,
}

impl Publisher {
    pub(crate) fn start(load: Load) -> Self {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        Self { shared, thread: std::thread::spawn(move || Device::new(load, own).run()) }
    }

    /// The broker has died, and had saved what it had at that time: what came later is published again with the next
    /// connection.
    pub(crate) fn rewind(&self, saved: SystemTime) {
        *self.shared.rewinds.lock().expect("a lock that lives") = Some(saved);
    }

    /// Ends once the broker has everything.
    pub(crate) fn finish(self) -> Published {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("a publisher that ends")
    }
}

struct Device {
    load: Load,
    shared: Arc<Shared>,
    published: Published,
    /// Packet id and number, and whether PUBREL is due instead of PUBLISH.
    unacknowledged: VecDeque<(u16, u64, bool)>,
    /// To be published before the next number.
    again: VecDeque<u64>,
    /// When all numbers below which one were acknowledged, of the last 20 s.
    history: VecDeque<(SystemTime, u64)>,
    id: u16,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Device {
    fn new(load: Load, shared: Arc<Shared>) -> Self {
        Self {
            load,
            shared,
            published: Published::default(),
            unacknowledged: VecDeque::new(),
            again: VecDeque::new(),
            history: VecDeque::new(),
            id: 0,
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    fn run(mut self) -> Published {
        let begun = Instant::now();
        loop {
            let Ok(mut stream) = self.connect() else {
                std::thread::yield_now();
                continue;
            };
            if self.serve(&mut stream, begun).is_ok() {
                return self.published;
            }
        }
    }

    fn connect(&mut self) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.load.port))?;
        stream.set_nodelay(true)?;
        // CONNECT of "device", clean session, without keep-alive; then CONNACK.
        stream.write_all(&[
            0x10, 18, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 6, b'd', b'e', b'v', b'i', b'c', b'e',
        ])?;
        stream.read_exact(&mut [0; 4])?;
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        self.input.clear();
        self.output.clear();
        let rewinds = self.shared.rewinds.lock().expect("a lock that lives").take();
        if let Some(saved) = rewinds {
            self.rewind(saved);
        } else {
            // In a new session the broker knows of no handshake.
            let open: Vec<u64> = self.unacknowledged.drain(..).map(|(_, number, _)| number).collect();
            open.into_iter().rev().for_each(|number| self.again.push_front(number));
        }
        self.published.repeated += self.again.len() as u64;
        Ok(stream)
    }

    /// Back to the first number that was not acknowledged when the broker began to save.
    fn rewind(&mut self, saved: SystemTime) {
        let before = self.history.iter().rev().find(|(at, _)| *at + SAVING <= saved);
        let first = before.map_or(0, |(_, number)| *number);
        self.unacknowledged.clear();
        self.again = (first..self.published.numbers).collect();
    }

    /// Until the end, or until the connection breaks.
    fn serve(&mut self, stream: &mut TcpStream, begun: Instant) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let ends = self.shared.ends.load(Ordering::Relaxed);
            self.publish(begun, ends);
            stream.write_all(&self.output)?;
            self.output.clear();
            if ends && self.unacknowledged.is_empty() && self.again.is_empty() {
                return Ok(());
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            self.answers();
        }
    }

    /// Writes what is due.
    fn publish(&mut self, begun: Instant, ends: bool) {
        let due = u64::try_from(begun.elapsed().as_millis()).unwrap_or(0) * self.load.rate / 1000;
        let now = SystemTime::now();
        if self.history.back().is_none_or(|(at, _)| *at + Duration::from_millis(100) < now) {
            let open = self.unacknowledged.iter().map(|(_, number, _)| number).chain(&self.again);
            let first = open.fold(self.published.numbers, |first, number| first.min(*number));
            self.history.push_back((now, first));
            while self.history.len() > 200 {
                self.history.pop_front();
            }
        }
        while self.unacknowledged.len() < IN_FLIGHT {
            let number = match self.again.pop_front() {
                Some(number) => number,
                None if !ends && self.published.numbers < due => {
                    self.published.numbers += 1;
                    self.published.numbers - 1
                }
                None => return,
            };
            self.id = self.id % 60_000 + 1;
            self.unacknowledged.push_back((self.id, number, false));
            let topic = format!("lab/{:05}", number % self.load.topics);
            let mut payload = format!("{number:08}").into_bytes();
            payload.resize(self.load.size.max(8), b'.');
            self.output.push(0x30 | self.load.qos << 1);
            length(2 + topic.len() + 2 + payload.len(), &mut self.output);
            self.output.extend_from_slice(&u16::try_from(topic.len()).expect("a short topic").to_be_bytes());
            self.output.extend_from_slice(topic.as_bytes());
            self.output.extend_from_slice(&self.id.to_be_bytes());
            self.output.extend_from_slice(&payload);
        }
    }

    /// PUBACK, PUBREC and PUBCOMP, each of four bytes.
    fn answers(&mut self) {
        let whole = self.input.len() / 4 * 4;
        for packet in self.input[..whole].chunks(4) {
            let id = u16::from_be_bytes([packet[2], packet[3]]);
            if packet[0] >> 4 == 5 {
                self.output.extend_from_slice(&[0x62, 2, packet[2], packet[3]]);
            } else if let Some(place) = self.unacknowledged.iter().position(|(own, ..)| *own == id) {
                self.unacknowledged.remove(place);
            }
        }
        self.input.drain(..whole);
    }
}

/// The remaining length of a packet.
fn length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let digit = u8::try_from(length % 128).expect("seven bits");
        length /= 128;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return;
        }
    }
}
