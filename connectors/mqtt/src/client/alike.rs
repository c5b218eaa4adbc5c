//! What the client library has alike for both versions of the protocol, in types of two names: written once here.
//!
//! `v3.rs` and `v5.rs` call [`alike`], each with the library as `lib`, and add what differs: `options`, `welcome`, `message`,
//! `granted`, `stored`, and how faults read.

/// Acknowledgements that go into one write.
pub(super) const REQUESTS_PER_WRITE: usize = 256;

/// Connects, reads, and sends; the names are those of the connection's reading half and of the options in the library's.
macro_rules! alike {
    ($wire:ident, $options:ident) => {
        pub(super) async fn connect(dial: &Dial, budget: Arc<Budget>) -> Result<Link, Fault> {
            let (mut options, socket) = (options(dial)?, Socket::default());
            let (below, server) = (socket.clone(), dial.server.clone());
            options.set_socket_connector(move |_, _| below.clone().open(server.clone()));
            let (client, events) = lib::AsyncClient::builder(options).unbounded().build();
            let mut wire = $wire { events, server: dial.server.clone() };
            loop {
                let event = wire.events.poll().await.map_err(|error| wire.unanswered(error, &socket))?;
                if let lib::Event::Incoming(lib::Packet::ConnAck(answer)) = event {
                    // From here on it would only be handed a new state of the session with every write.
                    wire.events.$options.clear_session_store();
                    return Ok(Link::new(welcome(&answer), Box::new(Client(client)), (wire, socket), budget));
                }
            }
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
            let tls = || tls::configuration(dial.tls.as_deref());
            Ok(match dial.server.scheme {
                Scheme::Tcp => lib::Transport::Tcp,
                Scheme::WebSocket => lib::Transport::Ws,
                Scheme::Tls => lib::Transport::Tls(tls()?),
                Scheme::SecureWebSocket => lib::Transport::Wss(tls()?),
            })
        }

        struct $wire {
            events: lib::EventLoop,
            server: Server,
        }

        impl $wire {
            fn judged(&self, error: lib::ConnectionError) -> Fault {
                tls::fault(&self.server, &error).unwrap_or_else(|| self.fault(error))
            }

            /// The end of a connection that no broker has accepted. Somebody who listens and says nothing that makes sense
            /// may be spoken to in the wrong way.
            fn unanswered(&self, error: lib::ConnectionError, socket: &Socket) -> Fault {
                let refused = matches!(error, lib::ConnectionError::ConnectionRefused(_));
                let mut fault = self.judged(error);
                if fault.kind == FaultKind::Away && !refused && socket.is_open() {
                    fault.text = format!("{}. {}", fault.text, self.server.otherwise());
                }
                fault
            }
        }

        impl Wire for $wire {
            async fn turn(&mut self) -> Result<Option<Event>, Fault> {
                let event = self.events.poll().await.map_err(|error| self.judged(error))?;
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

        /// A session that begins with nothing of ours in it. The library refuses to subscribe in a session that it does not
        /// know, which after a restart is every session; and what it would remember is remembered by us.
        #[derive(Debug)]
        struct Ours {
            in_flight: u16,
        }

        type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, lib::SessionStoreError>> + Send + 'a>>;

        impl lib::SessionStore for Ours {
            fn load<'a>(&'a self, key: &'a lib::SessionStoreKey) -> Answer<'a, Option<lib::PersistedSession>> {
                Box::pin(ready(Ok(Some(stored(key, self.in_flight)))))
            }

            fn save<'a>(&'a self, _: &'a lib::SessionStoreKey, _: &'a lib::PersistedSession) -> Answer<'a, ()> {
                Box::pin(ready(Ok(())))
            }

            fn clear<'a>(&'a self, _: &'a lib::SessionStoreKey) -> Answer<'a, ()> {
                Box::pin(ready(Ok(())))
            }
        }
    };
}

pub(super) use alike;
