//! Which addresses are inside of a network: nobody outside could reach them, and a worker must not do so on their behalf.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up, and gives only addresses that anybody can reach.
pub(crate) struct Outside;

impl Resolve for Outside {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let outside: Vec<_> = found.iter().copied().filter(|at| is_outside(at.ip())).collect();
            match (outside.is_empty(), found.first()) {
                (true, Some(inside)) => Err(Refused { name: name.as_str().to_owned(), at: inside.ip() }.into()),
                _ => Ok(Box::new(outside.into_iter()) as Addrs),
            }
        })
    }
}

/// A name that leads inside.
#[derive(Debug)]
pub(crate) struct Refused {
    name: String,
    at: IpAddr,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} leads to {}, an address inside of a network; if that is meant, name the address itself in \
             allowed.uri.prefixes",
            self.name, self.at
        )
    }
}

impl std::error::Error for Refused {}

/// Whether an address is one of the internet.
pub(crate) fn is_outside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_outside_v4(ip),
        IpAddr::V6(ip) => is_outside_v6(ip),
    }
}

fn is_outside_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let inside = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || matches!((a, b, c), (0 | 224.., ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _));
    !inside
}

/// Only what is handed out, and none of the ways in which an address of the other kind is written inside of one.
fn is_outside_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let special = (a == 0x2001 && (b < 0x200 || b == 0x0db8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    (0x2000..0x4000).contains(&a) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_outside() {
        for text in ["1.1.1.1", "93.184.215.14", "100.63.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1111"] {
            assert!(is_outside(text.parse().unwrap()), "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.170",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "64:ff9b::a00:1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
        ] {
            assert!(!is_outside(text.parse().unwrap()), "{text}");
        }
    }
}
