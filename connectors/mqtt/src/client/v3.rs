//! MQTT 3.1.1 by the client library, which has other types for it: they are turned into ours here, and nothing else is
//! done. What is behind the choices stands in `v5.rs`.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc_v4 as lib;

use super::socket::Socket;
use super::{
    Dial, Event, Fault, FaultKind, Link, Message, Outgoing, Packet, Qos, Receipt, Refused, Requests, SubscribeOptions,
    Version, Welcome, Wire, v5,
};
use crate::budget::Budget;
use crate::filter::Subscription;
use crate::uri::{Scheme, Server};

/// Acknowledgements that go into one write.
const REQUESTS_PER_WRITE: usize = 256;
/// A broker cannot say how many messages it takes unacknowledged: this many is what Mosquitto does, which ends a connection
/// that exceeds it with quality of service 2.
const IN_FLIGHT: u16 = 20;
/// The largest packet that MQTT has.
const LARGEST: usize = 256 * 1024 * 1024 - 1;

pub(super) async fn connect(dial: &Dial, budget: Arc<Budget>) -> Result<Link, Fault> {
    let (mut options, socket) = (options(dial)?, Socket::default());
    let (below, server) = (socket.clone(), dial.server.clone());
    options.set_socket_connector(move |_, _| below.clone().open(server.clone()));
    let (client, events) = lib::AsyncClient::builder(options).unbounded().build();
    let mut wire = V3 { events, server: dial.server.clone() };
    loop {
        let event = wire.events.poll().await.map_err(|error| wire.fault(error))?;
        if let lib::Event::Incoming(lib::Packet::ConnAck(answer)) = event {
            return Ok(Link::new(welcome(&answer), Box::new(Client(client)), (wire, socket), budget));
        }
    }
}

fn options(dial: &Dial) -> Result<lib::MqttOptions, Fault> {
    let mut options = lib::MqttOptions::new(&dial.client_id, broker(&dial.server)?);
    options
        .set_transport(transport(dial)?)
        .set_keep_alive(dial.keep_alive_seconds)
        .set_clean_session(dial.clean)
        .set_max_packet_size(dial.maximum_packet as usize, LARGEST)
        .set_ack_mode(lib::AckMode::Manual)
        .set_max_request_batch(REQUESTS_PER_WRITE)
        .set_read_batch_size(dial.read_at_once)
        .set_inflight(dial.in_flight)
        .set_pending_throttle(Duration::ZERO);
    if !dial.clean {
        options.set_session_store(Ours { in_flight: dial.in_flight });
    }
    match (&dial.username, &dial.password) {
        (Some(user), Some(password)) => options.set_credentials(user, password.0.clone().into_bytes()),
        (Some(user), None) => options.set_username(user),
        (None, _) => &mut options,
    };
    if let Some(will) = &dial.will {
        options.set_last_will(lib::LastWill::new(&will.topic, will.message.clone(), level(will.qos), will.retain));
    }
    Ok(options)
}

fn broker(server: &Server) -> Result<lib::Broker, Fault> {
    if server.scheme.is_web_socket() {
        // The library takes the encryption from the transport.
        return lib::Broker::websocket(server.plain().to_string())
            .map_err(|error| Fault::away(format!("{server} is no address for a WebSocket: {error}")));
    }
    Ok(lib::Broker::tcp(&server.host, server.port))
}

fn transport(dial: &Dial) -> Result<lib::Transport, Fault> {
    Ok(match dial.server.scheme {
        Scheme::Tcp => lib::Transport::Tcp,
        Scheme::WebSocket => lib::Transport::Ws,
        Scheme::Tls => lib::Transport::Tls(v5::tls(dial.tls.as_deref())?),
        Scheme::SecureWebSocket => lib::Transport::Wss(v5::tls(dial.tls.as_deref())?),
    })
}

fn welcome(answer: &lib::ConnAck) -> Welcome {
    Welcome {
        version: Version::V3,
        session_present: answer.session_present,
        receive_maximum: IN_FLIGHT,
        maximum_qos: Qos::ExactlyOnce,
        retain_available: true,
        maximum_packet: None,
    }
}

struct V3 {
    events: lib::EventLoop,
    server: Server,
}

impl Wire for V3 {
    async fn turn(&mut self) -> Result<Option<Event>, Fault> {
        let event = self.events.poll().await.map_err(|error| self.fault(error))?;
        let lib::Event::Incoming(packet) = event else { return Ok(None) };
        Ok(match packet {
            lib::Packet::Publish(publish) => Some(Event::Message(message(publish))),
            lib::Packet::SubAck(answer) => {
                Some(Event::Subscribed(answer.return_codes.into_iter().map(granted).collect()))
            }
            lib::Packet::UnsubAck(_) => Some(Event::Unsubscribed),
            _ => None,
        })
    }
}

fn message(publish: lib::Publish) -> Message {
    let packet = Packet { id: publish.pkid, qos: qos(publish.qos) };
    Message {
        packet,
        topic: publish.topic,
        payload: publish.payload,
        dup: publish.dup,
        retained: publish.retain,
        properties: None,
    }
}

fn granted(code: lib::SubscribeReasonCode) -> Result<Qos, String> {
    match code {
        lib::SubscribeReasonCode::Success(level) => Ok(qos(level)),
        lib::SubscribeReasonCode::Failure => Err("the broker gives no reason".into()),
    }
}

struct Client(lib::AsyncClient);

impl Client {
    /// Requests go to a queue without a limit, which fails only when the connection is gone.
    fn sent<T>(outcome: Result<T, lib::ClientError>) -> Result<T, Fault> {
        outcome.map_err(|error| match error {
            lib::ClientError::InvalidRequest(_) => Fault::away("the request breaks a rule of MQTT"),
            _ => Fault::away("the connection has ended"),
        })
    }
}

impl Requests for Client {
    fn subscribe(&self, subscriptions: &[Subscription], _: SubscribeOptions) -> Result<(), Fault> {
        let filters =
            subscriptions.iter().map(|asked| lib::SubscribeFilter::new(asked.filter.clone(), level(asked.qos)));
        Self::sent(self.0.try_subscribe_many(filters))
    }

    fn unsubscribe(&self, filters: &[String]) -> Result<(), Fault> {
        Self::sent(self.0.try_unsubscribe_many(filters.to_vec()))
    }

    fn ack(&self, packet: Packet) -> Result<(), Fault> {
        let ack = match packet.qos {
            Qos::AtMostOnce => return Ok(()),
            Qos::AtLeastOnce => lib::ManualAck::PubAck(lib::PubAck::new(packet.id)),
            Qos::ExactlyOnce => lib::ManualAck::PubRec(lib::PubRec::new(packet.id)),
        };
        Self::sent(self.0.try_manual_ack(ack))
    }

    fn publish(&self, message: Outgoing) -> Result<Receipt, Fault> {
        let Outgoing { topic, payload, qos, retain, .. } = message;
        let options = lib::PublishOptions::new(level(qos)).retain(retain);
        let notice = Self::sent(self.0.try_publish_tracked(topic, payload, options))?;
        Ok(Box::pin(async move { notice.wait_async().await.map(drop).map_err(|_| Refused::Gone) }))
    }

    fn disconnect(&self) -> Result<(), Fault> {
        Self::sent(self.0.try_disconnect())
    }
}

fn qos(level: lib::QoS) -> Qos {
    match level {
        lib::QoS::AtMostOnce => Qos::AtMostOnce,
        lib::QoS::AtLeastOnce => Qos::AtLeastOnce,
        lib::QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn level(qos: Qos) -> lib::QoS {
    match qos {
        Qos::AtMostOnce => lib::QoS::AtMostOnce,
        Qos::AtLeastOnce => lib::QoS::AtLeastOnce,
        Qos::ExactlyOnce => lib::QoS::ExactlyOnce,
    }
}

impl V3 {
    fn fault(&self, error: lib::ConnectionError) -> Fault {
        use lib::{ConnectionError as Error, StateError};
        let server = &self.server;
        match error {
            Error::ConnectionRefused(code) => refused(server, code),
            Error::Tls(error) => Fault::new(FaultKind::Tls, format!("no TLS with {server}: {error}")),
            Error::NetworkTimeout | Error::FlushTimeout | Error::MqttState(StateError::AwaitPingResp) => {
                Fault::away(format!("{server} does not answer"))
            }
            Error::Io(error) => Fault::away(format!("{server} cannot be reached: {error}")),
            Error::MqttState(StateError::Deserialization(lib::Error::PayloadSizeLimitExceeded(size))) => {
                Fault::new(FaultKind::TooLarge(size), format!("{server} sends a message of {size} bytes"))
            }
            Error::MqttState(StateError::Io(error) | StateError::Deserialization(lib::Error::Io(error))) => {
                Fault::away(format!("the connection to {server} broke: {error}"))
            }
            Error::MqttState(StateError::ConnectionAborted) => {
                Fault::away(format!("{server} has closed the connection"))
            }
            error => Fault::away(format!("the connection to {server} has ended: {error}")),
        }
    }
}

fn refused(server: &Server, code: lib::ConnectReturnCode) -> Fault {
    use lib::ConnectReturnCode as Code;
    let kind = match code {
        Code::BadUserNamePassword | Code::NotAuthorized => FaultKind::Credentials,
        Code::BadClientId => FaultKind::ClientId,
        Code::RefusedProtocolVersion => FaultKind::Version,
        Code::Success | Code::ServiceUnavailable => FaultKind::Away,
    };
    Fault::new(kind, format!("{server} refuses the connection: {code:?}"))
}

/// See `v5.rs`.
#[derive(Debug)]
struct Ours {
    in_flight: u16,
}

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, lib::SessionStoreError>> + Send + 'a>>;

impl lib::SessionStore for Ours {
    fn load<'a>(&'a self, key: &'a lib::SessionStoreKey) -> Stored<'a, Option<lib::PersistedSession>> {
        let session = lib::PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_session: false,
            max_inflight: self.in_flight,
            ack_mode: lib::PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(ready(Ok(Some(session))))
    }

    fn save<'a>(&'a self, _: &'a lib::SessionStoreKey, _: &'a lib::PersistedSession) -> Stored<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a lib::SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(ready(Ok(())))
    }
}
