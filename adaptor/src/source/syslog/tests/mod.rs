//! Real sockets, against a writer that can be held back.
//!
//! Kinds: [`datagrams`], [`streams`]. What peers do wrong: [`hostile`].

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use logboom_config::{
    OnLongLine, Source, SourceKind, SyslogSource, TcpSource, Tls, Transport, UdpSource, UnixSocketKind, UnixSource,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::source::testing::{A_WHILE, PATIENCE, Rig, Seen, free_address};

/// Bodies that a careless reader would break.
fn bodies() -> Vec<Vec<u8>> {
    let mut large: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    large.push(b'x');
    vec![
        b"plain".to_vec(),
        Vec::new(),
        b"a\nb\n\n c\r\n".to_vec(),
        b"\0a\0b\0".to_vec(),
        b"\xff\xfe\xc3(".to_vec(),
        large,
    ]
}

fn counted(message: &[u8]) -> Vec<u8> {
    [format!("{} ", message.len()).as_bytes(), message].concat()
}

/// A message of RFC 5424.
fn modern(body: &[u8]) -> Vec<u8> {
    [b"<13>1 2023-10-11T22:14:15.003Z h app 7 - - ", body].concat()
}

impl Rig {
    async fn syslog(&self, transport: Transport, change: impl FnOnce(&mut Source)) -> JoinHandle<()> {
        let mut source = Source::new("in", SourceKind::Syslog(SyslogSource { transport }));
        change(&mut source);
        self.open(source).await
    }

    async fn tcp_syslog(&self, change: impl FnOnce(&mut Source)) -> (SocketAddr, JoinHandle<()>) {
        let address = free_address();
        (address, self.syslog(Transport::Tcp(TcpSource::at(address)), change).await)
    }

    async fn unix_syslog(&self, path: &Path, socket: UnixSocketKind) -> JoinHandle<()> {
        self.syslog(Transport::Unix(UnixSource { socket, ..UnixSource::at(path) }), |_| {}).await
    }

    /// The bodies of `count` records, as the rig shows them, once they are synced.
    async fn has(&self, wanted: &[Vec<u8>]) {
        let seen = self.bodies(wanted.len()).await;
        assert_eq!(seen.len(), wanted.len());
        for (seen, wanted) in seen.iter().zip(wanted) {
            assert!(
                *seen == String::from_utf8_lossy(wanted),
                "{:?} has {} bytes",
                &seen[..seen.len().min(80)],
                seen.len()
            );
        }
    }
}

fn seen(body: &str, host: &str) -> Seen {
    let seen = Seen::new("in", body).with("syslog.facility", "user");
    if host.is_empty() { seen } else { seen.with("syslog.hostname", host) }
}

mod datagrams {
    use super::*;

    #[tokio::test]
    async fn each_datagram_is_a_message_without_the_newline_or_nul_at_its_end() {
        let rig = Rig::new();
        let address = free_address();
        let running = rig.syslog(Transport::Udp(UdpSource::at(address)), |_| {}).await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let ends: [&[u8]; 5] = [b"", b"\n", b"\0", b"\n\0", b"\r\n"];
        for (n, end) in ends.into_iter().enumerate() {
            let message = [&modern(format!("{n}\n two\0 three").as_bytes())[..], end].concat();
            client.send_to(&message, address).await.unwrap();
        }
        for nothing in [&b""[..], b"\n", b"\0"] {
            client.send_to(nothing, address).await.unwrap();
        }
        client.send_to(b"<13>Oct 11 22:14:15 h app[7]: last", address).await.unwrap();
        let records = rig.records(6).await;
        let wanted = |body: &str| seen(body, "h").with("syslog.app_name", "app").with("syslog.proc_id", "7");
        for (n, record) in records[..5].iter().enumerate() {
            assert_eq!(*record, wanted(&format!("{n}\n two\0 three")));
        }
        assert_eq!(records[5], wanted("last"));
        rig.stop(running).await;
        assert_eq!(rig.context.counters.records_in.get(), 6);
        assert_eq!(rig.context.counters.lines_unparsed.get(), 0);
    }

    #[tokio::test]
    async fn a_unix_datagram_socket_stands_in_for_dev_log() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("log");
        let running = rig.unix_syslog(&path, UnixSocketKind::Datagram).await;
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(b"<14>Oct 11 22:14:15 app[7]: two\nlines", &path).await.unwrap();
        client.send_to(b"no syslog\0", &path).await.unwrap();
        let records = rig.records(2).await;
        assert_eq!(records[0], seen("two\nlines", "").with("syslog.app_name", "app").with("syslog.proc_id", "7"));
        assert_eq!(records[1].body, "no syslog");
        assert!(records[1].attributes["logboom.parse_error"].contains("priority"));
        assert_eq!(rig.context.counters.lines_unparsed.get(), 1);
        // What was sent before the stop is taken.
        client.send_to(b"<14>late", &path).await.unwrap();
        rig.stop(running).await;
        assert_eq!(rig.bodies(3).await[2], "late");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_category_may_be_the_app() {
        let rig = Rig::new();
        let address = free_address();
        let category = |source: &mut Source| source.category = "sys.{app_name}.{facility}.{severity}".parse().unwrap();
        let running = rig.syslog(Transport::Udp(UdpSource::at(address)), category).await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"<38>Oct 11 22:14:15 h sshd[7]: x", address).await.unwrap();
        client.send_to(b"<38>no tag here", address).await.unwrap();
        let mut categories: Vec<_> = rig.records(2).await.into_iter().map(|seen| seen.category).collect();
        categories.sort();
        assert_eq!(categories, ["sys.in.auth.info", "sys.sshd.auth.info"]);
        rig.stop(running).await;
    }
}

mod streams {
    use super::*;

    #[tokio::test]
    async fn counted_messages_arrive_byte_for_byte() {
        let rig = Rig::new();
        let (address, running) = rig.tcp_syslog(|_| {}).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        for body in bodies() {
            client.write_all(&counted(&modern(&body))).await.unwrap();
        }
        rig.has(&bodies()).await;
        assert_eq!(rig.context.counters.lines_unparsed.get(), 0);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn messages_without_a_count_end_with_a_newline_or_nul_and_the_last_with_the_connection() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("log");
        let running = rig.unix_syslog(&path, UnixSocketKind::Stream).await;
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"<13>one\n<13>two\0\n5 <13>x<13>three").await.unwrap();
        drop(client);
        rig.has(&[b"one".to_vec(), b"two".to_vec(), b"x".to_vec(), b"three".to_vec()]).await;
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn messages_come_over_tls() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let pem = folder.path().join("localhost.pem");
        std::fs::write(&pem, include_str!("localhost.pem")).unwrap();
        let tls = Tls { cert_file: pem.clone(), key_file: pem.clone(), client_ca_file: None };
        let address = free_address();
        let transport = Transport::Tcp(TcpSource { tls: Some(tls), ..TcpSource::at(address) });
        let running = rig.syslog(transport, |_| {}).await;
        let mut client = tls_client(&pem, address).await;
        for body in bodies() {
            client.write_all(&counted(&modern(&body))).await.unwrap();
        }
        client.flush().await.unwrap();
        rig.has(&bodies()).await;
        rig.stop(running).await;
    }

    async fn tls_client(pem: &Path, address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
        use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    #[tokio::test]
    async fn a_stopped_source_reads_what_was_sent() {
        let rig = Rig::new();
        let (address, running) = rig.tcp_syslog(|_| {}).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"<13>one\n").await.unwrap();
        rig.bodies(1).await;
        client.try_write(b"<13>two\n<13>three").unwrap();
        rig.stop(running).await;
        assert_eq!(rig.bodies(3).await, ["one", "two", "three"]);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_full_spool_makes_the_sender_wait_or_refuses_and_counts() {
        let rig = Rig::new();
        let (address, running) = rig.tcp_syslog(|_| {}).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        rig.context.intake.refuse_all(true);
        client.write_all(b"<13>refused\n").await.unwrap();
        let refused = async {
            while rig.context.counters.records_refused_full.get() == 0 {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, refused).await.unwrap();
        rig.context.intake.refuse_all(false);
        // The intake has room for 16 MiB; beyond that nothing is read, and in the end nothing can be sent.
        rig.hold(true);
        let message = [&b"<13>"[..], &[b'x'; 1000], b"\n"].concat();
        let mut sent = 0;
        while let Ok(written) = timeout(A_WHILE * 4, client.write_all(&message)).await {
            written.unwrap();
            sent += 1;
            assert!(sent < 100_000, "nothing ever makes the sender wait");
        }
        rig.hold(false);
        drop(client);
        let bodies = rig.bodies(sent).await;
        assert!(bodies[..sent].iter().all(|body| body.len() == 1000));
        assert_eq!(rig.context.counters.records_refused_full.get(), 1);
        rig.stop(running).await;
    }
}

mod hostile {
    use super::*;
    use crate::source::Inlet;
    use crate::source::net::{self, take_messages_within};
    use crate::source::syslog::Flow;

    #[tokio::test]
    async fn long_bodies_are_cut_split_or_dropped_as_the_source_says() {
        for (on_long, wanted) in [
            (OnLongLine::Truncate, vec![100, 3]),
            (OnLongLine::Split, vec![100, 100, 50, 3]),
            (OnLongLine::Drop, vec![3]),
        ] {
            for count in [true, false] {
                let rig = Rig::new();
                let change = |source: &mut Source| (source.max_line, source.on_long_line) = (100, on_long);
                let (address, running) = rig.tcp_syslog(change).await;
                let mut client = TcpStream::connect(address).await.unwrap();
                for length in [250, 3] {
                    let message = modern(&vec![b'x'; length]);
                    let message = if count { counted(&message) } else { [&message[..], b"\n"].concat() };
                    client.write_all(&message).await.unwrap();
                }
                let lengths: Vec<_> = rig.bodies(wanted.len()).await.iter().map(String::len).collect();
                assert_eq!(lengths, wanted);
                rig.stop(running).await;
            }
        }
    }

    #[tokio::test]
    async fn a_message_without_end_is_cut_and_the_next_is_whole() {
        for (on_long, records) in [(OnLongLine::Truncate, 2), (OnLongLine::Split, 657), (OnLongLine::Drop, 1)] {
            let rig = Rig::new();
            let change = |source: &mut Source| (source.max_line, source.on_long_line) = (100, on_long);
            let (address, running) = rig.tcp_syslog(change).await;
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(&[&b"<13>"[..], &[b'x'; 300_000], b"\n<13>next\n"].concat()).await.unwrap();
            let bodies = rig.bodies(records).await;
            assert_eq!((bodies.len(), bodies[records - 1].as_str()), (records, "next"));
            let counters = &rig.context.counters;
            let counts = [&counters.lines_truncated, &counters.lines_split, &counters.lines_dropped_too_long];
            let wanted = match on_long {
                OnLongLine::Truncate => [1, 0, 0],
                // It was split as far as it was held; the rest was cut.
                OnLongLine::Split => [1, 1, 0],
                OnLongLine::Drop => [0, 0, 1],
            };
            assert_eq!(counts.map(|counter| counter.get()), wanted);
            rig.stop(running).await;
        }
    }

    #[tokio::test]
    async fn a_count_beyond_the_limit_ends_its_connection_and_no_other() {
        let rig = Rig::new();
        let (address, running) = rig.tcp_syslog(|_| {}).await;
        let mut honest = TcpStream::connect(address).await.unwrap();
        honest.write_all(b"<13>half ").await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"8 <13>good999999999 <13>bad").await.unwrap();
        // The end, or a reset because of what was not read.
        let end = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)));
        honest.write_all(b"whole\n").await.unwrap();
        rig.has(&[b"good".to_vec(), b"half whole".to_vec()]).await;
        assert_eq!(rig.context.counters.messages_refused.get(), 1);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_counted_message_that_is_cut_is_kept_and_says_so() {
        let rig = Rig::new();
        let (address, running) = rig.tcp_syslog(|_| {}).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"99 <13>half").await.unwrap();
        drop(client);
        let records = rig.records(1).await;
        let reason = "the connection ended before the message did";
        assert_eq!(records, [Seen::new("in", "<13>half").with("logboom.parse_error", reason)]);
        assert_eq!(rig.context.counters.lines_unparsed.get(), 1);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_message_that_does_not_go_on_ends_its_connection_however_slowly_it_comes() {
        let rig = Rig::new();
        let address = free_address();
        let tcp = TcpSource::at(address);
        let source = Source::new("in", SourceKind::Syslog(SyslogSource { transport: Transport::Tcp(tcp.clone()) }));
        let inlet = Inlet::new(source, rig.context.clone());
        let (listener, allowed) = net::bind_tcp("in", &tcp, &[]).unwrap();
        let serve = {
            let inlet = inlet.clone();
            move |connection| {
                let flow = Flow::new(&inlet, jiff::tz::TimeZone::UTC);
                take_messages_within(Duration::from_millis(300), connection, inlet.clone(), flow)
            }
        };
        let running = tokio::spawn(net::serve(listener, allowed, inlet, rig.stop.clone(), serve));
        // Between messages a connection may be silent.
        let mut quiet = TcpStream::connect(address).await.unwrap();
        quiet.write_all(b"<13>quiet\n").await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        let dripping = async {
            while slow.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, dripping).await.unwrap();
        assert_eq!(rig.context.counters.connections_idle.get(), 1);
        quiet.write_all(b"<13>again\n").await.unwrap();
        let bodies = rig.bodies(3).await;
        assert_eq!((bodies[0].as_str(), bodies[2].as_str()), ("quiet", "again"));
        assert!(bodies[1].starts_with("xx"));
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_and_counted() {
        let rig = Rig::new();
        let address = free_address();
        let tcp = TcpSource { idle_timeout: A_WHILE, ..TcpSource::at(address) };
        let running = rig.syslog(Transport::Tcp(tcp), |_| {}).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        assert_eq!(timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
        assert_eq!(rig.context.counters.connections_idle.get(), 1);
        rig.stop(running).await;
    }
}
