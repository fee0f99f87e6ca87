//! Addresses of collectors, which may be names, in one normal form.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use crate::error::{Unparsable, quoted};

/// The port of the collector's wire, used where an address names none.
pub const COLLECTOR_PORT: u16 = 14630;

/// `text` as `host:port`, with [`COLLECTOR_PORT`] when it names no port.
///
/// The host is a name, an IPv4 address or an IPv6 address, which comes back in brackets.
pub(crate) fn collector_address(text: &str) -> Result<String, Unparsable> {
    let refuse = |why: &str| Err(Unparsable(format!("`{}` {why}", quoted(text))));
    if let Ok(v6) = text.parse::<SocketAddrV6>() {
        return match v6.port() {
            0 => refuse("has the port 0; write a port from 1 to 65535, such as `[::1]:14630`"),
            _ => Ok(v6.to_string()),
        };
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(v6) = bare.parse::<Ipv6Addr>() {
        return Ok(format!("[{v6}]:{COLLECTOR_PORT}"));
    }
    let (host, port) = match text.split_once(':') {
        None => (text, COLLECTOR_PORT),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) if port > 0 => (host, port),
            _ => return refuse("is not an address; write `host:port` with a port from 1 to 65535"),
        },
    };
    let may_be_in_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match (1..=253).contains(&host.len()) && host.chars().all(may_be_in_a_name) {
        true => Ok(format!("{host}:{port}")),
        false => refuse("is not an address; write `host:port`, such as `logs.example.com:14630`"),
    }
}

/// Whether `host`, perhaps with a port, is a name of this host's own that no name server can give.
pub fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_gets_the_port_of_the_wire() {
        for (text, address) in [
            ("logs", "logs:14630"),
            ("logs.example.com:9", "logs.example.com:9"),
            ("10.0.0.1", "10.0.0.1:14630"),
            ("::1", "[::1]:14630"),
            ("[::1]", "[::1]:14630"),
            ("[fe80::1]:7", "[fe80::1]:7"),
        ] {
            assert_eq!(collector_address(text).unwrap(), address);
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in ["", ":1", "a:", "a:0", "a:70000", "a:b", "http://a", "a b", "[::1", "[::1]:0", "a:1:2", "ä"] {
            assert!(collector_address(text).is_err(), "{text}");
        }
    }
}
