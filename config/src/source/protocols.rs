//! Sources that speak a protocol of logging: which, where, and what each asks for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::tcp::{TcpSource, guard};
use super::udp::UdpSource;
use super::unix::UnixSource;
use crate::error::Error;
use crate::keys::SOURCE;
use crate::secret::Secret;
use crate::section::Section;
use crate::token::{TOKEN_BYTES_MAX, Tokens};

/// How large a frame may be allowed to be.
const FRAME_BYTES: RangeInclusive<u64> = 64 << 10..=64 << 20;
/// How far what is compressed may be allowed to grow.
const RATIO: RangeInclusive<u64> = 10..=100_000;

/// `port` on loopback: where a protocol listens by default.
const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// What carries a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with TLS or without.
    Tcp(TcpSource),
    /// UDP.
    Udp(UdpSource),
    /// A Unix socket, of streams or of datagrams.
    Unix(UnixSource),
}

#[derive(Clone, Copy)]
enum Carrier {
    Tcp,
    Udp,
    Unix,
}

impl Transport {
    /// `carriers` are those that the protocol has, its default first.
    fn read(
        section: &Section<'_>,
        carriers: &[(&'static str, Carrier)],
        port: u16,
        asks: bool,
    ) -> Result<Transport, Error> {
        let carrier = section.given("transport").map_or(Ok(carriers[0].1), |value| value.choice(carriers))?;
        let (name, foreign): (_, &[&str]) = match carrier {
            Carrier::Tcp => ("tcp", &["path", "socket", "mode", "owner", "receive_buffer"]),
            Carrier::Udp => (
                "udp",
                &[
                    "path",
                    "socket",
                    "mode",
                    "owner",
                    "tls_cert_file",
                    "tls_key_file",
                    "tls_client_ca_file",
                    "max_connections",
                    "idle_timeout",
                ],
            ),
            Carrier::Unix => (
                "unix",
                &["listen", "receive_buffer", "tls_cert_file", "tls_key_file", "tls_client_ca_file", "insecure"],
            ),
        };
        if let Some(key) = foreign.iter().find(|key| section.given(key).is_some()) {
            let message = format!("has no meaning with `transport = \"{name}\"`; remove it or set another transport");
            return Err(section.wrong(key, &message));
        }
        Ok(match carrier {
            Carrier::Tcp => Transport::Tcp(TcpSource::of_protocol(section, loopback(port), asks)?),
            Carrier::Udp => Transport::Udp(UdpSource::of_protocol(section, loopback(port))?),
            Carrier::Unix => Transport::Unix(UnixSource::read(section)?),
        })
    }
}

/// Settings of a source of type `scribe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScribeSource {
    /// Where it listens; by default 127.0.0.1:1463.
    pub tcp: TcpSource,
    /// Peers whose `reinitialize` and `shutdown` are obeyed.
    pub control_from: Vec<IpAddr>,
    /// The most bytes of a frame; 64 KiB to 64 MiB.
    pub max_frame: usize,
}

/// Settings of a source of type `syslog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSource {
    /// Where it listens; by default 127.0.0.1:1514 on UDP.
    pub transport: Transport,
}

/// Settings of a source of type `forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardSource {
    /// Where it listens; by default 127.0.0.1:24224 on TCP. Never UDP.
    pub transport: Transport,
    /// What clients must prove to know.
    pub shared_key: Option<Secret>,
    /// The most bytes of a message, also decompressed; 64 KiB to 64 MiB.
    pub max_frame: usize,
    /// How many times its compressed size one may have, where that is more than 4 MiB; 10 to 100,000.
    pub max_ratio: usize,
}

/// Settings of a source of type `otlp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSource {
    /// Where it listens for gRPC; by default 127.0.0.1:4317.
    pub grpc: Option<TcpSource>,
    /// Where it listens for HTTP; by default 127.0.0.1:4318.
    pub http: Option<TcpSource>,
    /// The bearer tokens of which clients must send one.
    pub token: Option<Tokens>,
    /// The most bytes of a request, also decompressed; 64 KiB to 64 MiB.
    pub max_frame: usize,
    /// How many times its compressed size one may have, where that is more than 4 MiB; 10 to 100,000.
    pub max_ratio: usize,
}

/// Settings of a source of type `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// Where it listens; by default 127.0.0.1:14680.
    pub tcp: TcpSource,
    /// The bearer tokens of which clients must send one.
    pub token: Option<Tokens>,
    /// The most bytes of a request, also decompressed; 64 KiB to 64 MiB.
    pub max_frame: usize,
    /// How many times its compressed size one may have, where that is more than 4 MiB; 10 to 100,000.
    pub max_ratio: usize,
}

/// Settings of a source of type `gelf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GelfSource {
    /// Where it listens; by default 127.0.0.1:12201 on UDP. Never a Unix socket.
    pub transport: Transport,
    /// The most bytes of a message, also decompressed; 64 KiB to 64 MiB.
    pub max_frame: usize,
    /// How many times its compressed size one may have, where that is more than 4 MiB; 10 to 100,000.
    pub max_ratio: usize,
}

fn max_frame(section: &Section<'_>) -> Result<usize, Error> {
    Ok(section.get("max_frame").size(FRAME_BYTES)? as usize)
}

fn max_ratio(section: &Section<'_>) -> Result<usize, Error> {
    Ok(section.get("max_ratio").count(RATIO)? as usize)
}

fn secret(section: &Section<'_>, key: &str) -> Result<Option<Secret>, Error> {
    section.given(key).map(|file| file.secret(TOKEN_BYTES_MAX)).transpose()
}

/// `Default` and the constructor with a TCP address of each protocol, which programs and tests use.
macro_rules! presets {
    ($($name:ident,)*) => {
        $(impl Default for $name {
            fn default() -> Self {
                Self::read(&Section::defaults(SOURCE)).expect("the defaults are valid")
            }
        })*
    };
}

presets! { ScribeSource, SyslogSource, ForwardSource, OtlpSource, HttpSource, GelfSource, }

impl ScribeSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let address = |value: crate::section::Value<'_>| {
            let text = value.text()?;
            text.parse().map_err(|_| value.wrong("is not an IP address; write for example \"127.0.0.1\""))
        };
        Ok(Self {
            tcp: TcpSource::of_protocol(section, loopback(1463), false)?,
            control_from: section.get("control_from").list()?.into_iter().map(address).collect::<Result<_, _>>()?,
            max_frame: max_frame(section)?,
        })
    }
}

impl SyslogSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let carriers = [("udp", Carrier::Udp), ("tcp", Carrier::Tcp), ("unix", Carrier::Unix)];
        Ok(Self { transport: Transport::read(section, &carriers, 1514, false)? })
    }
}

impl ForwardSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let shared_key = secret(section, "shared_key_file")?;
        let carriers = [("tcp", Carrier::Tcp), ("unix", Carrier::Unix)];
        let transport = Transport::read(section, &carriers, 24224, shared_key.is_some())?;
        Ok(Self { transport, shared_key, max_frame: max_frame(section)?, max_ratio: max_ratio(section)? })
    }
}

impl OtlpSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let token = section.given("token_file").map(|file| file.tokens()).transpose()?;
        let listener = |key: &str| -> Result<Option<TcpSource>, Error> {
            let value = section.get(key);
            if value.text()?.is_empty() {
                return Ok(None);
            }
            let tcp = TcpSource::with_listen(value.listen()?, section)?;
            guard(section, key, tcp.listen, token.is_some() || tcp.tls.is_some())?;
            Ok(Some(tcp))
        };
        let (grpc, http) = (listener("grpc_listen")?, listener("http_listen")?);
        if grpc.is_none() && http.is_none() {
            return Err(section.wrong("grpc_listen", "is empty, and so is `http_listen`; set at least one of them"));
        }
        Ok(Self { grpc, http, token, max_frame: max_frame(section)?, max_ratio: max_ratio(section)? })
    }
}

impl HttpSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let token = section.given("token_file").map(|file| file.tokens()).transpose()?;
        let tcp = TcpSource::of_protocol(section, loopback(14680), token.is_some())?;
        Ok(Self { tcp, token, max_frame: max_frame(section)?, max_ratio: max_ratio(section)? })
    }
}

impl GelfSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let carriers = [("udp", Carrier::Udp), ("tcp", Carrier::Tcp)];
        let transport = Transport::read(section, &carriers, 12201, false)?;
        Ok(Self { transport, max_frame: max_frame(section)?, max_ratio: max_ratio(section)? })
    }
}
