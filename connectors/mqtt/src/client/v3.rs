//! MQTT 3.1.1 by the client library, which has other types for it: they are turned into ours here, and nothing else is
//! done. What is behind the choices stands in `v5.rs`, and what both versions have alike in `alike.rs`.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc_v4 as lib;

use super::alike::{REQUESTS_PER_WRITE, alike};
use super::socket::Socket;
use super::tls;
use super::{
    Dial, Event, Fault, FaultKind, Link, Message, Outgoing, Packet, Qos, Receipt, Refused, Requests, SubscribeOptions,
    Version, Welcome, Wire,
};
use crate::budget::Budget;
use crate::filter::Subscription;
use crate::uri::{Scheme, Server};

/// A broker cannot say how many messages it takes unacknowledged: this many is what Mosquitto does, which ends a connection
/// that exceeds it with quality of service 2.
const IN_FLIGHT: u16 = 20;
/// The largest packet that MQTT has.
const LARGEST: usize = 256 * 1024 * 1024 - 1;

alike!(V3, mqtt_options);

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

impl V3 {
    fn fault(&self, error: lib::ConnectionError) -> Fault {
        use lib::{ConnectionError as Error, StateError};
        let server = &self.server;
        match error {
            Error::ConnectionRefused(code) => refused(server, code),
            Error::Tls(error) => Fault::away(format!("no TLS with {server}: {error}")),
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

/// What `alike.rs` says of a session.
fn stored(key: &lib::SessionStoreKey, in_flight: u16) -> lib::PersistedSession {
    lib::PersistedSession {
        format_version: 1,
        client_id: key.client_id().to_owned(),
        clean_session: false,
        max_inflight: in_flight,
        ack_mode: lib::PersistedAckMode::Manual,
        last_pkid: 0,
        last_puback: 0,
        replay: Vec::new(),
        incoming_qos2: Vec::new(),
    }
}
