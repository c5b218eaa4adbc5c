//! `bootstrap.servers`: addresses as Java's clients take them. librdkafka takes more, and makes another port of a large one.
//!
//! Used for the worker's own key and, by `kafka/properties.rs`, for those of its clients.

/// The addresses as librdkafka wants them. A scheme in front of one means nothing to Java's clients, and goes; the error
/// names the first one that no client could reach, and why.
pub fn read(text: &str) -> Result<String, String> {
    let addresses = text.split(',').map(str::trim).filter(|address| !address.is_empty());
    let addresses = addresses.map(|address| plain(address).map_err(|reason| format!("\"{address}\" {reason}")));
    match addresses.collect::<Result<Vec<_>, _>>()? {
        none if none.is_empty() => Err("it names no broker; write host:port, separated by commas".into()),
        plain => Ok(plain.join(",")),
    }
}

fn plain(address: &str) -> Result<&str, &'static str> {
    let plain = address.split_once("://").map_or(address, |(_, rest)| rest);
    let Some((_, port)) = plain.rsplit_once(':').filter(|(host, _)| is_host(host)) else {
        return Err("is not host:port, such as localhost:9092 or [::1]:9092");
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if is_port { Ok(plain) } else { Err("has no port from 1 to 65535") }
}

fn is_host(host: &str) -> bool {
    let (name, colons) = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => (address, true),
        None => (host, false),
    };
    let fits = |char: char| char.is_ascii_alphanumeric() || "-._%".contains(char) || (colons && char == ':');
    !name.is_empty() && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_javas_clients_take() {
        for (text, plain) in [
            ("localhost:9092", "localhost:9092"),
            (" a.b-c_d:1 ,, 10.0.0.1:65535", "a.b-c_d:1,10.0.0.1:65535"),
            ("[::1]:9092,[fe80::1%eth0]:9092", "[::1]:9092,[fe80::1%eth0]:9092"),
            ("PLAINTEXT://kafka:9092,http://kafka:9093", "kafka:9092,kafka:9093"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(plain), "{text}");
        }
    }

    #[test]
    fn what_no_client_can_reach_is_named() {
        for (text, reason) in [
            ("", "names no broker"),
            (" , ", "names no broker"),
            ("a:1,nonsense", "\"nonsense\" is not host:port"),
            (":9092", "\":9092\" is not host:port"),
            ("::1:9092", "is not host:port"),
            ("a b:9092", "is not host:port"),
            ("a:9092/x", "has no port"),
            ("a:", "has no port"),
            ("a:+1", "has no port"),
            ("a:0", "has no port"),
            ("localhost:99999", "\"localhost:99999\" has no port from 1 to 65535"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
