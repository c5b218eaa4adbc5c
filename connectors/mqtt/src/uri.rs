//! Addresses of brokers.
//!
//! Pure; `config.rs` refuses bad ones with it. Read next: `client/mod.rs`.

use std::fmt;

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Behind the host, for WebSockets.
    pub(crate) path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
}

impl Scheme {
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    pub(crate) fn is_web_socket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Tcp => 1883,
            Self::Tls => 8883,
            Self::WebSocket => 80,
            Self::SecureWebSocket => 443,
        }
    }
}

impl Server {
    /// The same place, named without encryption.
    pub(crate) fn plain(&self) -> Self {
        let scheme = if self.scheme.is_web_socket() { Scheme::WebSocket } else { Scheme::Tcp };
        Self { scheme, ..self.clone() }
    }

    /// What to try when somebody listens there and does not answer.
    pub(crate) fn otherwise(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Tcp => Scheme::Tls,
            Scheme::WebSocket => Scheme::SecureWebSocket,
            Scheme::Tls | Scheme::SecureWebSocket => {
                return format!(
                    "If its port is one without TLS, write {}; if it wants a certificate of the client, see mqtt.ssl.cert.path",
                    self.plain()
                );
            }
        };
        format!("If its port is one for TLS, write {}", Self { scheme, ..self.clone() })
    }

    /// `mqtt://host:port`; the scheme may be `tcp`, `mqtt`, `ssl`, `tls`, `mqtts`, `ws` or `wss`, the port left out.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            "an address looks like mqtt://HOST:1883, mqtts://HOST:8883, ws://HOST/mqtt or wss://HOST/mqtt".to_owned()
        })?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => Scheme::Tcp,
            "mqtts" | "ssl" | "tls" => Scheme::Tls,
            "ws" => Scheme::WebSocket,
            "wss" => Scheme::SecureWebSocket,
            other => return Err(format!("{other}:// is not known: use mqtt, mqtts, ws or wss")),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path.trim_end_matches('/')),
            None => (rest, ""),
        };
        let place = host_and_port(authority);
        // A password may hold a slash, and what is behind it is no path.
        if authority.contains('@') || (rest.contains('@') && (place.is_err() || !scheme.is_web_socket())) {
            return Err("must not hold a user or password: use mqtt.username and mqtt.password".into());
        }
        if !path.is_empty() && !scheme.is_web_socket() {
            return Err(format!("the path /{path} means something to ws:// and wss:// only"));
        }
        let (host, port) = place?;
        let path = if path.is_empty() { "/mqtt".to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host, port: port.unwrap_or_else(|| scheme.port()), path })
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("names no host".into());
    }
    let port = port.map(|port| port.parse().map_err(|_| format!("'{port}' is no port"))).transpose()?;
    Ok((host.to_owned(), port))
}

/// Without the path of TCP addresses; no address holds a secret.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.scheme.is_web_socket() { self.path.as_str() } else { "" };
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}{path}", self.scheme.name(), self.host, self.port)
        } else {
            write!(f, "{}://{}:{}{path}", self.scheme.name(), self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("tcp://broker:1884", "mqtt://broker:1884"),
            ("mqtt://broker", "mqtt://broker:1883"),
            ("SSL://broker/", "mqtts://broker:8883"),
            ("ws://broker:9001", "ws://broker:9001/mqtt"),
            ("wss://broker/a/b", "wss://broker:443/a/b"),
            ("mqtt://[::1]:1883", "mqtt://[::1]:1883"),
        ] {
            assert_eq!(Server::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn another_way_to_speak_is_offered() {
        for (uri, offered) in [
            ("mqtt://broker:8883", "for TLS, write mqtts://broker:8883"),
            ("ws://broker:443", "for TLS, write wss://broker:443/mqtt"),
            ("mqtts://broker:1883", "without TLS, write mqtt://broker:1883"),
        ] {
            assert!(Server::parse(uri).unwrap().otherwise().contains(offered), "{uri}");
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_the_reason() {
        for (text, reason) in [
            ("broker:1883", "looks like"),
            ("http://broker", "use mqtt, mqtts"),
            ("mqtt://me:secret@broker", "mqtt.username"),
            ("mqtt://me:se/secret@broker", "mqtt.username"),
            ("wss://me:secret/1@broker/mqtt", "mqtt.username"),
            ("mqtt://broker/path", "means something to ws"),
            ("mqtt://broker:port", "is no port"),
            ("mqtt://:1883", "names no host"),
        ] {
            let error = Server::parse(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
