//! MQTT 5 by the client library.
//!
//! Each connection gets a client of its own. What the library would carry from one connection to the next (packet ids,
//! messages to repeat, half done handshakes) is kept by us, who know what is in Kafka. Read next: `alike.rs`, the
//! part that `v3.rs` shares.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc_v5 as lib;

use super::alike::{REQUESTS_PER_WRITE, alike};
use super::socket::Socket;
use super::tls;
use super::{
    Dial, Event, Fault, FaultKind, Link, Message, Outgoing, Packet, Properties, Qos, Receipt, Refused, Requests,
    Retained, SubscribeOptions, Version, Welcome, Will, Wire,
};
use crate::budget::Budget;
use crate::filter::Subscription;
use crate::uri::{Scheme, Server};

alike!(V5, options);

fn options(dial: &Dial) -> Result<lib::MqttOptions, Fault> {
    let mut options = lib::MqttOptions::new(&dial.client_id, broker(&dial.server)?);
    options
        .set_transport(transport(dial)?)
        .set_keep_alive(dial.keep_alive_seconds)
        .set_clean_start(dial.clean)
        .set_session_expiry_interval(Some(dial.expiry_seconds))
        .set_receive_maximum(Some(dial.receive_maximum))
        .set_max_packet_size(Some(dial.maximum_packet))
        .set_connect_timeout(dial.timeout)
        .set_ack_mode(lib::AckMode::Manual)
        .set_max_request_batch(REQUESTS_PER_WRITE)
        .set_read_batch_size(dial.read_at_once)
        .set_outgoing_inflight_upper_limit(dial.in_flight)
        .set_pending_throttle(Duration::ZERO);
    if !dial.user_properties.is_empty() {
        options.set_user_properties(dial.user_properties.clone());
    }
    if !dial.clean {
        options.set_session_store(Ours { in_flight: dial.in_flight });
    }
    match (&dial.username, &dial.password) {
        (Some(user), Some(password)) => options.set_credentials(user, password.0.clone().into_bytes()),
        (Some(user), None) => options.set_username(user),
        (None, Some(password)) => options.set_password(password.0.clone().into_bytes()),
        (None, None) => &mut options,
    };
    if let Some(last) = &dial.will {
        options.set_last_will(will(last));
    }
    Ok(options)
}

fn will(will: &Will) -> lib::LastWill {
    let properties = lib::LastWillProperties {
        delay_interval: Some(will.delay_seconds),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    lib::LastWill::new(&will.topic, will.message.clone(), level(will.qos), will.retain, Some(properties))
}

fn welcome(answer: &lib::ConnAck) -> Welcome {
    let said = answer.properties.as_ref();
    Welcome {
        version: Version::V5,
        session_present: answer.session_present,
        receive_maximum: said.and_then(|said| said.receive_max).unwrap_or(u16::MAX),
        maximum_qos: said.and_then(|said| said.max_qos).and_then(Qos::from_level).unwrap_or(Qos::ExactlyOnce),
        retain_available: said.and_then(|said| said.retain_available) != Some(0),
        maximum_packet: said.and_then(|said| said.max_packet_size),
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
        properties: publish.properties.map(properties),
    }
}

fn properties(given: lib::PublishProperties) -> Box<Properties> {
    Box::new(Properties {
        text: given.payload_format_indicator.map(|indicator| indicator == 1),
        expiry: given.message_expiry_interval,
        content_type: given.content_type,
        response_topic: given.response_topic,
        correlation: given.correlation_data,
        subscriptions: given.subscription_identifiers,
        user: given.user_properties,
    })
}

fn granted(code: lib::SubscribeReasonCode) -> Result<Qos, String> {
    match code {
        lib::SubscribeReasonCode::Success(level) => Ok(qos(level)),
        refusal => Err(format!("{refusal:?}")),
    }
}

impl Requests for Client {
    fn subscribe(&self, subscriptions: &[Subscription], options: SubscribeOptions) -> Result<(), Fault> {
        let filters = subscriptions.iter().map(|Subscription { filter, qos }| lib::SubscribeFilter {
            path: filter.clone(),
            qos: level(*qos),
            nolocal: options.no_local,
            preserve_retain: options.retain_as_published,
            retain_forward_rule: match options.retained {
                Retained::Emit => lib::RetainForwardRule::OnEverySubscribe,
                Retained::Once => lib::RetainForwardRule::OnNewSubscribe,
                Retained::Skip => lib::RetainForwardRule::Never,
            },
        });
        Self::sent(self.0.try_subscribe_many(filters))
    }

    fn unsubscribe(&self, filters: &[String]) -> Result<(), Fault> {
        Self::sent(self.0.try_unsubscribe_many(filters.to_vec()))
    }

    fn ack(&self, packet: Packet) -> Result<(), Fault> {
        let ack = match packet.qos {
            Qos::AtMostOnce => return Ok(()),
            Qos::AtLeastOnce => lib::ManualAck::PubAck(lib::PubAck::new(packet.id, None)),
            Qos::ExactlyOnce => lib::ManualAck::PubRec(lib::PubRec::new(packet.id, None)),
        };
        Self::sent(self.0.try_manual_ack(ack))
    }

    fn publish(&self, message: Outgoing) -> Result<Receipt, Fault> {
        let Outgoing { topic, payload, qos, retain, properties } = message;
        let mut options = lib::PublishOptions::new(level(qos)).retain(retain);
        if let Some(properties) = properties {
            options = options.properties(given(*properties));
        }
        let notice = Self::sent(self.0.try_publish_tracked(topic, payload, options))?;
        Ok(Box::pin(async move {
            match notice.wait_async().await {
                Ok(result) => outcome(&result),
                Err(lib::PublishNoticeError::RetainNotSupported) => {
                    Err(Refused::Reason("the broker does not keep retained messages".into()))
                }
                Err(_) => Err(Refused::Gone),
            }
        }))
    }

    fn disconnect(&self) -> Result<(), Fault> {
        Self::sent(self.0.try_disconnect())
    }
}

/// A message without subscribers was published all the same.
fn outcome(result: &lib::PublishResult) -> Result<(), Refused> {
    let refused = |reason: String| Err(Refused::Reason(reason));
    match result {
        lib::PublishResult::Qos1(ack) => match ack.reason {
            lib::PubAckReason::Success | lib::PubAckReason::NoMatchingSubscribers => Ok(()),
            reason => refused(format!("{reason:?}")),
        },
        lib::PublishResult::Qos2PubRecRejected(answer) => refused(format!("{:?}", answer.reason)),
        lib::PublishResult::Qos0Flushed | lib::PublishResult::Qos2Completed(_) => Ok(()),
    }
}

fn given(properties: Properties) -> lib::PublishProperties {
    lib::PublishProperties {
        payload_format_indicator: properties.text.map(u8::from),
        message_expiry_interval: properties.expiry,
        topic_alias: None,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation,
        user_properties: properties.user,
        subscription_identifiers: Vec::new(),
        content_type: properties.content_type,
    }
}

impl V5 {
    fn fault(&self, error: lib::ConnectionError) -> Fault {
        use lib::ConnectionError as Error;
        let server = &self.server;
        match error {
            Error::ConnectionRefused(code) => refused(server, code),
            Error::MqttState(error) => self.broken(error),
            Error::Tls(error) => Fault::away(format!("no TLS with {server}: {error}")),
            Error::Timeout(_) => Fault::away(format!("{server} does not answer")),
            Error::Io(error) => Fault::away(format!("{server} cannot be reached: {error}")),
            error => Fault::away(format!("the connection to {server} has ended: {error}")),
        }
    }

    fn broken(&self, error: lib::StateError) -> Fault {
        use lib::{DisconnectReasonCode as Code, StateError as Error};
        let server = &self.server;
        match error {
            Error::ServerDisconnect { reason_code: Code::SessionTakenOver, .. } => {
                Fault::new(FaultKind::TakenOver, format!("{server}: another client has connected with this client id"))
            }
            Error::ServerDisconnect { reason_code: Code::NotAuthorized, reason_string } => {
                let reason = reason_string.unwrap_or_default();
                Fault::new(FaultKind::Credentials, format!("{server} ends the connection: not authorized {reason}"))
            }
            Error::ServerDisconnect { reason_code, reason_string } => {
                let reason = reason_string.unwrap_or_default();
                Fault::away(format!("{server} ends the connection: {reason_code:?} {reason}"))
            }
            Error::Deserialization(lib::Error::PayloadSizeLimitExceeded { pkt_size, .. })
            | Error::IncomingPacketTooLarge { pkt_size, .. } => {
                Fault::new(FaultKind::TooLarge(pkt_size), format!("{server} sends a message of {pkt_size} bytes"))
            }
            Error::Io(error) | Error::Deserialization(lib::Error::Io(error)) => {
                Fault::away(format!("the connection to {server} broke: {error}"))
            }
            Error::ConnectionAborted => Fault::away(format!("{server} has closed the connection")),
            Error::AwaitPingResp => Fault::away(format!("{server} answers no more")),
            error => Fault::away(format!("the connection to {server} has ended: {error}")),
        }
    }
}

fn refused(server: &Server, code: lib::ConnectReturnCode) -> Fault {
    use lib::ConnectReturnCode as Code;
    let kind = match code {
        Code::BadUserNamePassword | Code::NotAuthorized | Code::BadAuthenticationMethod | Code::Banned => {
            FaultKind::Credentials
        }
        Code::BadClientId | Code::ClientIdentifierNotValid => FaultKind::ClientId,
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => FaultKind::Version,
        _ => FaultKind::Away,
    };
    Fault::new(kind, format!("{server} refuses the connection: {code:?}"))
}

/// What `alike.rs` says of a session.
fn stored(key: &lib::SessionStoreKey, in_flight: u16) -> lib::PersistedSession {
    lib::PersistedSession {
        format_version: 1,
        client_id: key.client_id().to_owned(),
        clean_start: false,
        session_expiry_interval: None,
        outgoing_inflight_upper_limit: Some(in_flight),
        ack_mode: lib::PersistedAckMode::Manual,
        last_pkid: 0,
        last_puback: 0,
        replay: Vec::new(),
        incoming_qos2: Vec::new(),
    }
}
