//! One connection to a broker, and the one question that is open on it. Used by `mod.rs` alone.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Address;
use super::wire::{self, Terms, Wanted};

/// How long a broker may take for the first words: it has been heard a moment ago.
const HELLO: Duration = Duration::from_secs(1);
/// How long an answer may take beyond the wait that it was allowed.
const SILENCE: Duration = Duration::from_secs(10);
/// The largest answer: librdkafka's bound too.
const ANSWER: usize = 1_100_000_000;

pub(super) struct Link {
    pub address: Address,
    stream: TcpStream,
    terms: Terms,
    number: i32,
    /// Who is first in the next question.
    first: usize,
    /// What is still to be sent.
    out: Vec<u8>,
    /// What was asked for, until the answer is there.
    asked: Option<Vec<Wanted>>,
    incoming: Incoming,
    /// When the broker was last heard, or not listened to.
    heard: Instant,
    /// No question before: the broker wants to be left alone.
    quiet_until: Option<Instant>,
    pub received: u64,
    pub sent: u64,
}

/// An answer on its way.
#[derive(Default)]
struct Incoming {
    head: [u8; 4],
    /// Bytes of the head that are there.
    got: usize,
    /// Behind the head; `None` before.
    body: Option<BytesMut>,
}

impl Link {
    /// Connects, and sees whether the broker speaks what is spoken here.
    pub(super) async fn open(address: Address, terms: Terms) -> Result<Self, String> {
        let hello = async {
            let mut stream = TcpStream::connect((address.0.as_str(), address.1)).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&wire::ask_versions(0, &terms.client_id)).await?;
            let len = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX).min(1 << 16);
            let mut answer = vec![0; len];
            stream.read_exact(&mut answer).await?;
            io::Result::Ok((stream, answer))
        };
        let (stream, answer) = match tokio::time::timeout(HELLO, hello).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no answer within {HELLO:?}")),
        };
        if wire::speaks_fetch(&answer) != Some(true) {
            return Err("the broker is older than Kafka 2.3".into());
        }
        let (out, incoming, heard) = (Vec::new(), Incoming::default(), Instant::now());
        let (asked, quiet_until) = (None, None);
        Ok(Self {
            address,
            stream,
            terms,
            number: 0,
            first: 0,
            out,
            asked,
            incoming,
            heard,
            quiet_until,
            received: 0,
            sent: 0,
        })
    }

    /// Whether a question may be asked.
    pub(super) fn is_free(&self) -> bool {
        self.asked.is_none() && self.quiet_until.is_none_or(|until| until <= Instant::now())
    }

    /// Asks for records; sent as soon as there is room. Who was first is last the next time: a broker fills its answer in
    /// the order of the question.
    pub(super) fn ask(&mut self, mut wanted: Vec<Wanted>) -> io::Result<()> {
        self.first = (self.first + 1) % wanted.len().max(1);
        wanted.rotate_left(self.first);
        self.number = self.number.wrapping_add(1);
        self.out = wire::ask_records(self.number, &self.terms, &wanted);
        self.sent += self.out.len() as u64;
        (self.asked, self.heard, self.quiet_until) = (Some(wanted), Instant::now(), None);
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The broker is not listened to at the moment, and so cannot be late.
    pub(super) fn excuse(&mut self) {
        self.heard = Instant::now();
    }

    /// The answer, with what was asked; pending while it is not whole.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Vec<Wanted>, wire::Answer)>> {
        if self.asked.is_none() {
            return Poll::Pending;
        }
        if !self.out.is_empty() && self.stream.poll_write_ready(cx)?.is_ready() {
            self.send()?;
        }
        let bytes = match self.poll_bytes(cx)? {
            Poll::Ready(bytes) => bytes,
            Poll::Pending if self.heard.elapsed() > self.patience() => {
                return Poll::Ready(Err(io::Error::other(format!("no answer for {:?}", self.heard.elapsed()))));
            }
            Poll::Pending => return Poll::Pending,
        };
        let unreadable = || io::Error::other("an answer that cannot be read");
        let answer =
            wire::answer(&bytes).filter(|_| wire::number(&bytes) == Some(self.number)).ok_or_else(unreadable)?;
        if let Ok(wait @ 1..) = u64::try_from(answer.throttle_ms) {
            self.quiet_until = Some(Instant::now() + Duration::from_millis(wait));
        }
        Poll::Ready(Ok((self.asked.take().unwrap_or_default(), answer)))
    }

    fn patience(&self) -> Duration {
        SILENCE + Duration::from_millis(u64::from(self.terms.max_wait_ms.unsigned_abs()))
    }

    /// A whole answer, behind its length.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.incoming.read(&self.stream) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => {
                    self.received += read as u64;
                    self.heard = Instant::now();
                    if let Some(bytes) = self.incoming.whole() {
                        return Poll::Ready(Ok(bytes));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Incoming {
    /// Reads some of what is missing.
    fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let Some(body) = &mut self.body else {
            let read = stream.try_read(&mut self.head[self.got..])?;
            self.got += read;
            if self.got == self.head.len() {
                let len = u32::from_be_bytes(self.head) as usize;
                if !(4..=ANSWER).contains(&len) {
                    return Err(io::Error::other(format!("an answer of {len} bytes")));
                }
                self.body = Some(BytesMut::with_capacity(len));
            }
            return Ok(read);
        };
        let missing = u32::from_be_bytes(self.head) as usize - body.len();
        stream.try_read_buf(&mut body.limit(missing))
    }

    /// The answer, once, when all of it is there.
    fn whole(&mut self) -> Option<Bytes> {
        let len = u32::from_be_bytes(self.head) as usize;
        let body = self.body.take_if(|body| body.len() == len)?;
        self.got = 0;
        Some(body.freeze())
    }
}
