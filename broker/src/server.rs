//! The asynchronous shell: connections, waiting requests, fsyncs, the clock. Everything that waits, waits here.
//!
//! All tasks run on the broker's one thread and borrow the node between their waits, never across one.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchRequest;
use kafka_protocol::messages::join_group_request::JoinGroupRequest;
use kafka_protocol::messages::produce_request::ProduceRequest;
use kafka_protocol::messages::sync_group_request::SyncGroupRequest;
use kafka_protocol::messages::{
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, RequestKind, ResponseKind,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::BrokerConfig;
use crate::api::{self, Call};
use crate::group::member::Reply;
use crate::node::Node;

/// Group deadlines are checked this often.
const TICK: Duration = Duration::from_millis(50);
/// As Kafka's connections.max.idle.ms; also the longest a client may take to send a request or to take an answer.
const IDLE: Duration = Duration::from_mins(10);
/// A consumer that wants to wait for longer is answered with nothing after this.
const LONGEST_POLL: Duration = Duration::from_mins(1);
/// A client that waits for the end of a transaction is told after this to ask again.
const LONGEST_END: Duration = Duration::from_secs(10);
/// What connections may take to end after the broker was told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Reserved for a request before its bytes arrive: a length alone costs no more than this.
const FIRST_READ: usize = 64 * 1024;

struct Shell {
    node: RefCell<Node>,
    /// Wakes consumers that wait for records.
    grew: Notify,
    /// Wakes the task that runs the fsyncs.
    flush: Notify,
    waiting_for_flush: RefCell<Vec<oneshot::Sender<bool>>>,
    /// Wakes the task that ends transactions.
    decided: Notify,
    /// Wakes who waits for the end of a transaction.
    ended: Notify,
    stopping: watch::Receiver<bool>,
}

/// The connection cannot go on; whether that is worth a log line.
enum Closed {
    Quietly,
    Because(String),
}

/// Serves until told to stop.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    node: Node,
    config: BrokerConfig,
    stopping: watch::Receiver<bool>,
) {
    let shell = Rc::new(Shell {
        node: RefCell::new(node),
        grew: Notify::new(),
        flush: Notify::new(),
        waiting_for_flush: RefCell::new(Vec::new()),
        decided: Notify::new(),
        ended: Notify::new(),
        stopping,
    });
    let local = LocalSet::new();
    local.spawn_local(keep_time(Rc::clone(&shell)));
    local.spawn_local(keep_flushing(Rc::clone(&shell)));
    local.spawn_local(keep_ending(Rc::clone(&shell)));
    // What a crash left decided but not ended, and the markers the start itself has written.
    shell.decided.notify_one();
    local.run_until(accept(listener, Rc::clone(&shell), config)).await;
    shell.flush_once().await;
}

async fn accept(listener: std::net::TcpListener, shell: Rc<Shell>, config: BrokerConfig) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "The broker cannot watch its port");
            return;
        }
    };
    let mut connections = JoinSet::new();
    let mut stopping = shell.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if connections.len() >= config.max_connections => {
                    tracing::warn!(%peer, limit = config.max_connections, "Too many connections; closed the newest");
                    drop(stream);
                }
                Ok((stream, peer)) => {
                    connections.spawn_local(converse(stream, peer, Rc::clone(&shell), config.max_request_bytes));
                }
                Err(error) => {
                    tracing::warn!(%error, "Cannot accept a connection");
                    tokio::time::sleep(TICK).await;
                }
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_ANSWERS, finished).await;
}

async fn keep_time(shell: Rc<Shell>) {
    let mut clock = tokio::time::interval(TICK);
    loop {
        clock.tick().await;
        if shell.node.borrow_mut().tick(Instant::now()) {
            shell.decided.notify_one();
        }
    }
}

/// One fsync after the other; what comes meanwhile shares the next one.
async fn keep_flushing(shell: Rc<Shell>) {
    loop {
        shell.flush.notified().await;
        shell.flush_once().await;
    }
}

/// Ends the transactions that are decided, as many at a time as there are.
async fn keep_ending(shell: Rc<Shell>) {
    loop {
        shell.decided.notified().await;
        shell.end_transactions().await;
    }
}

/// One connection: a request, its answer, the next request.
async fn converse(mut stream: TcpStream, peer: SocketAddr, shell: Rc<Shell>, max_request: usize) {
    // Answers are single writes; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let mut stopping = shell.stopping.clone();
    loop {
        let request = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            request = timeout(IDLE, read_request(&mut stream, max_request)) => request,
        };
        let answered = match request {
            Err(_) => return,
            Ok(Err(closed)) => Err(closed),
            Ok(Ok(request)) => shell.answer(request, peer, local).await,
        };
        match answered {
            Ok(None) => {}
            Ok(Some(answer)) => match timeout(IDLE, stream.write_all(&answer)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            },
            Err(Closed::Quietly) => return,
            Err(Closed::Because(why)) => {
                tracing::warn!(%peer, why, "Closed a connection");
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, max_request: usize) -> Result<Bytes, Closed> {
    let length = stream.read_i32().await.map_err(|_| Closed::Quietly)?;
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= max_request) else {
        return Err(Closed::Because(format!("a request of {length} bytes; at most {max_request} are allowed")));
    };
    let mut request = BytesMut::with_capacity(length.min(FIRST_READ));
    let mut body = stream.take(length as u64);
    while request.len() < length {
        if request.len() == request.capacity() {
            request.reserve(request.len().min(length - request.len()));
        }
        if body.read_buf(&mut request).await.map_err(|_| Closed::Quietly)? == 0 {
            return Err(Closed::Quietly);
        }
    }
    Ok(request.freeze())
}

impl Shell {
    /// The bytes to send back; None where the client wants no answer.
    async fn answer(&self, request: Bytes, peer: SocketAddr, local: SocketAddr) -> Result<Option<Bytes>, Closed> {
        let (call, request) = api::decode(request, peer, local).map_err(Closed::Because)?;
        let response = match request {
            RequestKind::Produce(request) => match self.produce(request, &call).await {
                Some(response) => response,
                None => return Ok(None),
            },
            RequestKind::Fetch(request) => self.fetch(&request, &call).await,
            RequestKind::InitProducerId(request) => ResponseKind::InitProducerId(self.init(&request, &call).await?),
            RequestKind::EndTxn(request) => ResponseKind::EndTxn(self.end(&request, &call).await),
            RequestKind::JoinGroup(request) => self.join(request, &call).await?,
            RequestKind::SyncGroup(request) => self.sync(request).await?,
            other => {
                let response = self.node.borrow_mut().answer(other, &call);
                self.journal_synced().await?;
                response
            }
        };
        api::encode(&call, &response).map(Some).map_err(Closed::Because)
    }

    async fn produce(&self, request: ProduceRequest, call: &Call) -> Option<ResponseKind> {
        let acks = request.acks;
        let (mut response, receipts) = self.node.borrow_mut().produce(request, call);
        if self.node.borrow().config.fsync && !receipts.is_empty() {
            self.flushed().await;
            self.node.borrow().refuse_what_is_not_durable(&mut response, &receipts);
        }
        self.grew.notify_waiters();
        (acks != 0).then_some(ResponseKind::Produce(response))
    }

    async fn fetch(&self, request: &FetchRequest, call: &Call) -> ResponseKind {
        let patience = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(LONGEST_POLL);
        let until = tokio::time::Instant::now() + patience;
        let mut stopping = self.stopping.clone();
        loop {
            // Listening before looking: records that come in between are not missed.
            let mut grew = std::pin::pin!(self.grew.notified());
            grew.as_mut().enable();
            let (response, is_enough) = self.node.borrow().fetch(request, call);
            if is_enough {
                return ResponseKind::Fetch(response);
            }
            tokio::select! {
                () = grew => {}
                () = tokio::time::sleep_until(until) => return ResponseKind::Fetch(response),
                _ = stopping.wait_for(|stop| *stop) => return ResponseKind::Fetch(response),
            }
        }
    }

    async fn init(&self, request: &InitProducerIdRequest, call: &Call) -> Result<InitProducerIdResponse, Closed> {
        let until = tokio::time::Instant::now() + LONGEST_END;
        let answer = loop {
            // Listening before asking: an end that comes in between is not missed.
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if let Some(answer) = self.node.borrow_mut().init_producer(request) {
                break answer;
            }
            self.decided.notify_one();
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep_until(until) => break Err(ResponseError::ConcurrentTransactions),
            }
        };
        self.journal_synced().await?;
        Ok(api::transactions::init_response(answer, call))
    }

    /// Answers once the transaction has ended, so that what was committed can be read from then on.
    async fn end(&self, request: &EndTxnRequest, call: &Call) -> EndTxnResponse {
        let until = tokio::time::Instant::now() + LONGEST_END;
        let decided = self.node.borrow_mut().answer_end(request);
        if let Err(error) = decided {
            return api::transactions::end_response(Err(error), call);
        }
        self.decided.notify_one();
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if !self.node.borrow().is_ending(&request.transactional_id) {
                return api::transactions::end_response(Ok(()), call);
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep_until(until) => {
                    return api::transactions::end_response(Err(ResponseError::ConcurrentTransactions), call);
                }
            }
        }
    }

    /// The three steps of an end, each on the disk before the next: a crash in between changes nothing of the outcome.
    async fn end_transactions(&self) {
        // Decisions that come during the fsync are not covered by it; they are for the next time.
        let decided = self.node.borrow().ending();
        let fsync = self.node.borrow().config.fsync;
        if fsync && !self.flushed().await {
            return;
        }
        let marked = self.node.borrow_mut().write_markers(decided);
        if fsync {
            self.flushed().await;
        }
        self.node.borrow_mut().finish(marked);
        self.ended.notify_waiters();
        self.grew.notify_waiters();
    }

    async fn join(&self, request: JoinGroupRequest, call: &Call) -> Result<ResponseKind, Closed> {
        let reply = self.node.borrow_mut().join_group(request, call, Instant::now());
        let answer = self.settled(reply).await?;
        Ok(ResponseKind::JoinGroup(api::group::join_response(answer)))
    }

    async fn sync(&self, request: SyncGroupRequest) -> Result<ResponseKind, Closed> {
        let reply = self.node.borrow_mut().sync_group(&request, Instant::now());
        let answer = self.settled(reply).await?;
        Ok(ResponseKind::SyncGroup(api::group::sync_response(answer, request)))
    }

    /// Waits for the rest of the group. A client that has meanwhile asked again elsewhere gets no answer here.
    async fn settled<T>(&self, reply: Reply<T>) -> Result<T, Closed> {
        let mut stopping = self.stopping.clone();
        match reply {
            Reply::Now(answer) => Ok(answer),
            Reply::Later(receiver) => tokio::select! {
                answer = receiver => answer.map_err(|_| Closed::Quietly),
                _ = stopping.wait_for(|stop| *stop) => Err(Closed::Quietly),
            },
        }
    }

    /// Waits until the journal is on the disk, where that is promised.
    async fn journal_synced(&self) -> Result<(), Closed> {
        if self.node.borrow().must_sync_journal() && !self.flushed().await {
            return Err(Closed::Because("the disk did not take a change; the client has to ask again".into()));
        }
        Ok(())
    }

    /// Waits until everything up to now is on the disk; false if the journal is not.
    async fn flushed(&self) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.waiting_for_flush.borrow_mut().push(sender);
        self.flush.notify_one();
        receiver.await.unwrap_or(false)
    }

    async fn flush_once(&self) {
        let waiting = std::mem::take(&mut *self.waiting_for_flush.borrow_mut());
        let unsynced = self.node.borrow_mut().unsynced();
        let synced = match tokio::task::spawn_blocking(move || unsynced.sync()).await {
            Ok(synced) => self.node.borrow_mut().synced(synced),
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = &synced {
            tracing::error!(%error, "The journal is not on the disk");
        }
        for waiting in waiting {
            let _ = waiting.send(synced.is_ok());
        }
    }
}
