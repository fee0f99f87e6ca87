//! Real sockets, against a writer that can be held back.
//!
//! Kinds: [`streams`], [`datagrams`]. Lines that belong together: [`records`]. Acknowledgements: [`acknowledgements`]. Files and addresses: [`binding`].

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use logboom_config::{Format, Source, SourceKind, TcpSource, UdpSource, UnixSocketKind, UnixSource};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::source::testing::{A_WHILE, PATIENCE, Rig, Seen, any_port, free_address, routes};

impl Rig {
    async fn unix(&self, format: Format, settings: UnixSource) -> JoinHandle<()> {
        self.open(Source { format, ..Source::new("in", SourceKind::Unix(settings)) }).await
    }

    async fn tcp(&self, format: Format, settings: impl FnOnce(&mut TcpSource)) -> (SocketAddr, JoinHandle<()>) {
        let mut tcp = TcpSource::at(free_address());
        settings(&mut tcp);
        let address = tcp.listen;
        (address, self.open(Source { format, ..Source::new("in", SourceKind::Tcp(tcp)) }).await)
    }

    /// A TCP source of JSON lines and a connection to it.
    async fn connected(&self) -> (Client, JoinHandle<()>) {
        let (address, running) = self.tcp(Format::Json, |_| {}).await;
        (Client(BufReader::new(TcpStream::connect(address).await.unwrap())), running)
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).await.unwrap();
    }

    /// The next answer; empty where the connection has ended.
    async fn answer(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }

    async fn gets_no_answer(&mut self) -> bool {
        timeout(A_WHILE, self.0.fill_buf()).await.is_err()
    }
}

fn ok(ack: u64, records: u64) -> String {
    format!(r#"{{"$ack":{ack},"status":"ok","records":{records}}}"#)
}

fn refused(ack: u64, records: u64) -> String {
    format!(r#"{{"$ack":{ack},"status":"refused","reason":"spool full","records":{records}}}"#)
}

mod records {
    use logboom_config::{Multiline, MultilineRule};

    use super::*;

    fn multiline(kind: SourceKind, format: Format, timeout: Duration) -> Source {
        let mut source = Source { format, ..Source::new("in", kind) };
        let rule = MultilineRule::Custom { start: None, continuation: None, indented: true };
        source.parsing.multiline = Some(Multiline { rule, timeout, lines_max: 500 });
        source
    }

    #[tokio::test]
    async fn a_record_of_several_lines_is_taken_when_the_next_begins_its_time_is_over_or_the_connection_ends() {
        let (rig, tcp) = (Rig::new(), TcpSource::at(free_address()));
        let address = tcp.listen;
        let running = rig.open(multiline(SourceKind::Tcp(tcp), Format::Lines, A_WHILE)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        client.write_all(b"a\n b\n\n c\nd\n").await.unwrap();
        assert_eq!(rig.bodies(1).await, ["a\n b\n\n c"]);
        client.write_all(b" e\n").await.unwrap();
        assert_eq!(rig.bodies(2).await[1], "d\n e");
        other.write_all(b"f\n g").await.unwrap();
        drop(other);
        assert_eq!(rig.bodies(3).await[2], "f\n g");
        client.write_all(b"h\n i\n").await.unwrap();
        rig.stop(running).await;
        assert_eq!(rig.bodies(4).await[3], "h\n i");
        assert_eq!(rig.context.counters.bytes_in.get(), 8 + 4 + 4 + 4);
    }

    #[tokio::test]
    async fn a_request_for_an_answer_ends_the_record_before_it() {
        let (rig, tcp) = (Rig::new(), TcpSource::at(free_address()));
        let address = tcp.listen;
        let running = rig.open(multiline(SourceKind::Tcp(tcp), Format::Json, Duration::from_secs(3600))).await;
        let mut client = Client(BufReader::new(TcpStream::connect(address).await.unwrap()));
        client.send("a\n b\n{\"$ack\":1}\n c\n{\"$ack\":2}\n").await;
        assert_eq!(client.answer().await, ok(1, 1));
        assert_eq!(client.answer().await, ok(2, 1));
        assert_eq!(rig.bodies(2).await, ["a\n b", " c"]);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_record_of_several_lines_ends_with_its_datagram() {
        let rig = Rig::new();
        let address = std::net::UdpSocket::bind(any_port()).unwrap().local_addr().unwrap();
        let kind = SourceKind::Udp(UdpSource::at(address));
        let running = rig.open(multiline(kind, Format::Lines, Duration::from_secs(3600))).await;
        let client = UdpSocket::bind(any_port()).await.unwrap();
        client.send_to(b"a\n b\nc\n d", address).await.unwrap();
        client.send_to(b" e\nf", address).await.unwrap();
        assert_eq!(rig.bodies(4).await, ["a\n b", "c\n d", " e", "f"]);
        rig.stop(running).await;
    }
}

mod streams {
    use super::*;

    #[tokio::test]
    async fn lines_of_a_unix_stream_become_records_and_so_does_a_last_line_without_end() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let running = rig.unix(Format::Lines, UnixSource::at(&path)).await;
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"one\n{\"$ack\":1}\r\n\nha").await.unwrap();
        sleep(A_WHILE).await;
        client.write_all(b"lf").await.unwrap();
        drop(client);
        assert_eq!(rig.bodies(3).await, ["one", "{\"$ack\":1}", "half"]);
        assert_eq!(rig.context.counters.records_in.get(), 3);
        assert_eq!(rig.context.counters.bytes_in.get(), 3 + 10 + 4);
        rig.stop(running).await;
        assert!(!path.exists(), "the socket's file is removed");
    }

    #[tokio::test]
    async fn json_lines_of_a_tcp_connection_become_records() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        client.send("{\"category\":\"billing\",\"msg\":\"paid\",\"n\":1}\nplain\n").await;
        rig.bodies(2).await;
        let mut seen = rig.synced.lock().unwrap().clone();
        seen.sort_by_key(|seen| seen.category.clone());
        assert_eq!(seen, [Seen::new("billing", "paid").with("n", "1"), Seen::new("in", "plain")]);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_stopped_source_reads_what_was_sent_and_serves_who_had_connected() {
        let rig = Rig::new();
        let (address, running) = rig.tcp(Format::Lines, |_| {}).await;
        let mut known = TcpStream::connect(address).await.unwrap();
        known.write_all(b"a\n").await.unwrap();
        rig.bodies(1).await;
        // Nothing awaits between these and the stop that would let the source run: the writes go to the kernel at once.
        let mut waiting = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut waiting, b"b\nc").unwrap();
        known.try_write(b"d\ne").unwrap();
        rig.stop(running).await;
        let mut bodies = rig.bodies(5).await;
        bodies.sort();
        assert_eq!(bodies, ["a", "b", "c", "d", "e"]);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_stopped_unix_source_serves_who_had_connected() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let running = rig.unix(Format::Lines, UnixSource::at(&path)).await;
        let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        std::io::Write::write_all(&mut client, b"a\nb").unwrap();
        rig.stop(running).await;
        assert_eq!(rig.bodies(2).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_peer_that_never_pauses_does_not_keep_a_source_from_stopping() {
        let rig = Rig::new();
        let (address, running) = rig.tcp(Format::Lines, |_| {}).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let sending = tokio::spawn(async move { while client.write_all(b"again and again\n").await.is_ok() {} });
        rig.bodies(1).await;
        rig.stop(running).await;
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_closed_and_counted_until_one_ends() {
        let rig = Rig::new();
        let (address, running) = rig.tcp(Format::Lines, |tcp| tcp.max_connections = 2).await;
        let mut clients = Vec::new();
        for n in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(format!("{n}\n").as_bytes()).await.unwrap();
            clients.push(client);
        }
        rig.bodies(2).await;
        let mut third = TcpStream::connect(address).await.unwrap();
        assert_eq!(timeout(PATIENCE, third.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
        assert_eq!(rig.context.counters.connections_refused.get(), 1);
        clients.pop();
        let welcome = async {
            loop {
                let mut client = TcpStream::connect(address).await.unwrap();
                let _ = client.write_all(b"again\n").await;
                if timeout(A_WHILE, client.read(&mut [0; 1])).await.is_err() {
                    return client;
                }
            }
        };
        let _client = timeout(PATIENCE, welcome).await.unwrap();
        rig.bodies(3).await;
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_and_counted() {
        let rig = Rig::new();
        let (address, running) = rig.tcp(Format::Lines, |tcp| tcp.idle_timeout = A_WHILE).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"half").await.unwrap();
        assert_eq!(timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
        assert_eq!(rig.bodies(1).await, ["half"]);
        assert_eq!(rig.context.counters.connections_idle.get(), 1);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_long_flow_in_any_pieces_arrives_in_order() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        let lines: Vec<_> = (0..20_000).map(|n| format!("{n} {}", "x".repeat(n % 300))).collect();
        let flow = lines.join("\n");
        for piece in flow.as_bytes().chunks(7919) {
            client.send(std::str::from_utf8(piece).unwrap()).await;
        }
        drop(client);
        assert!(rig.bodies(lines.len()).await == lines);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_full_spool_refuses_lines_and_the_connection_goes_on() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        client.send("a\n").await;
        rig.bodies(1).await;
        rig.context.intake.refuse_all(true);
        client.send("b\nc\n").await;
        while rig.context.counters.records_refused_full.get() < 2 {
            sleep(Duration::from_millis(2)).await;
        }
        rig.context.intake.refuse_all(false);
        client.send("d\n").await;
        assert_eq!(rig.bodies(2).await, ["a", "d"]);
        rig.stop(running).await;
    }
}

mod datagrams {
    use super::*;

    #[tokio::test]
    async fn each_datagram_of_a_unix_socket_is_a_line_or_more() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let settings = UnixSource { socket: UnixSocketKind::Datagram, ..UnixSource::at(&path) };
        let running = rig.unix(Format::Lines, settings).await;
        let client = UnixDatagram::unbound().unwrap();
        for datagram in ["a", "b\nc\n", "", "\n", "d\r\n\ne"] {
            client.send_to(datagram.as_bytes(), &path).await.unwrap();
        }
        assert_eq!(rig.bodies(5).await, ["a", "b", "c", "d", "e"]);
        client.send_to(&[b'x'; 65_537], &path).await.unwrap();
        let bodies = rig.bodies(6).await;
        assert_eq!(bodies[5].len(), 65_536);
        assert_eq!(rig.context.counters.datagrams_truncated.get(), 1);
        client.try_send_to(b"the last", &path).unwrap();
        rig.stop(running).await;
        assert_eq!(rig.bodies(7).await[6], "the last");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn udp_datagrams_become_records_and_those_that_wait_are_read_before_it_stops() {
        let rig = Rig::new();
        let address = std::net::UdpSocket::bind(any_port()).unwrap().local_addr().unwrap();
        let settings = UdpSource { receive_buffer: 100_000, ..UdpSource::at(address) };
        let running = rig.open(Source { format: Format::Json, ..Source::new("in", SourceKind::Udp(settings)) }).await;
        let client = UdpSocket::bind(any_port()).await.unwrap();
        client.send_to(b"{\"msg\":\"a\"}\n{\"$ack\":1}", address).await.unwrap();
        rig.bodies(2).await;
        assert_eq!(rig.synced.lock().unwrap()[1], Seen::new("in", "{\"$ack\":1}").with("$ack", "1"), "it asks in vain");
        for n in 0..100 {
            client.try_send_to(format!("{n}").as_bytes(), address).unwrap();
        }
        rig.stop(running).await;
        assert_eq!(rig.bodies(102).await[101], "99");
    }

    #[tokio::test]
    async fn datagrams_that_a_full_spool_refuses_are_counted() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let settings = UnixSource { socket: UnixSocketKind::Datagram, ..UnixSource::at(&path) };
        rig.context.intake.refuse_all(true);
        let running = rig.unix(Format::Lines, settings).await;
        UnixDatagram::unbound().unwrap().send_to(b"a\nb", &path).await.unwrap();
        while rig.context.counters.records_refused_full.get() < 2 {
            sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(rig.context.counters.records_in.get(), 0);
        rig.stop(running).await;
    }
}

mod acknowledgements {
    use super::*;
    use crate::source::answers;
    use crate::source::socket::ack::{Group, request};
    use crate::source::socket::connection::WAITING_MAX;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn nothing_is_answered_before_the_records_are_synced() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        rig.hold(true);
        client.send("a\nb\n{\"$ack\":1}\n").await;
        assert!(client.gets_no_answer().await);
        assert!(rig.synced.lock().unwrap().is_empty());
        rig.hold(false);
        assert_eq!(client.answer().await, ok(1, 2));
        assert_eq!(rig.synced.lock().unwrap().len(), 2);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn records_that_rules_drop_are_done_with_and_count() {
        let mut rig = Rig::new();
        rig.context.routes = routes("[[adaptor.route]]\nbody = '^noise'\ndrop = true\n");
        let (mut client, running) = rig.connected().await;
        rig.hold(true);
        client.send("noise\n{\"msg\":\"noise\"}\n{\"$ack\":1}\n").await;
        assert_eq!(client.answer().await, ok(1, 2), "there is nothing to wait for");
        client.send("a\nnoise\nb\n{\"$ack\":2}\n").await;
        assert!(client.gets_no_answer().await);
        rig.hold(false);
        assert_eq!(client.answer().await, ok(2, 3));
        rig.context.intake.refuse_all(true);
        client.send("noise\n").await;
        sleep(A_WHILE).await;
        client.send("noise\nc\n").await;
        sleep(A_WHILE).await;
        client.send("noise\n{\"$ack\":3}\n").await;
        assert_eq!(client.answer().await, refused(3, 1), "the chunk with the refused record is refused as a whole");
        assert_eq!(rig.bodies(2).await, ["a", "b"]);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn requests_may_be_sent_ahead_and_are_answered_in_order() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        rig.hold(true);
        client.send("{\"$ack\":0}\n").await;
        assert_eq!(client.answer().await, ok(0, 0));
        for n in 1..=300 {
            client.send(&"x\n".repeat(n % 4)).await;
            client.send(&format!("{{\"$ack\":{n}}}\n")).await;
        }
        assert!(client.gets_no_answer().await);
        rig.hold(false);
        for n in 1..=300 {
            assert_eq!(client.answer().await, ok(n, n % 4));
        }
        client.send("y\n{ \"$ack\" : \"an \\\"id\\\"\" }\n").await;
        assert_eq!(client.answer().await, r#"{"$ack":"an \"id\"","status":"ok","records":1}"#);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_unix_stream_answers_even_after_its_producer_has_said_that_it_is_done() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let running = rig.unix(Format::Json, UnixSource::at(&path)).await;
        let mut client = UnixStream::connect(&path).await.unwrap();
        rig.hold(true);
        client.write_all(b"a\n{\"$ack\":\"x\"}").await.unwrap();
        client.shutdown().await.unwrap();
        sleep(A_WHILE).await;
        rig.hold(false);
        let mut answers = String::new();
        timeout(PATIENCE, client.read_to_string(&mut answers)).await.unwrap().unwrap();
        assert_eq!(answers, "{\"$ack\":\"x\",\"status\":\"ok\",\"records\":1}\n");
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_refused_group_says_how_many_records_are_durable_and_the_next_group_is_tried_again() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        client.send("{\"$ack\":0}\n").await;
        assert_eq!(client.answer().await, ok(0, 0));
        client.send("a\nb\n").await;
        rig.bodies(2).await;
        rig.context.intake.refuse_all(true);
        client.send("c\n").await;
        while rig.context.counters.records_refused_full.get() < 1 {
            sleep(Duration::from_millis(2)).await;
        }
        rig.context.intake.refuse_all(false);
        client.send("d\n{\"$ack\":1}\ne\n{\"$ack\":2}\n").await;
        assert_eq!(client.answer().await, refused(1, 2));
        assert_eq!(client.answer().await, ok(2, 1));
        assert_eq!(rig.bodies(3).await, ["a", "b", "e"]);
        assert_eq!(rig.context.counters.records_refused_full.get(), 2);
        assert_eq!(rig.context.counters.records_in.get(), 3);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn an_adaptor_that_stops_answers_what_becomes_durable_and_nothing_else() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        rig.hold(true);
        client.send("a\n{\"$ack\":1}\nb\n").await;
        assert!(client.gets_no_answer().await);
        rig.stop.cancel();
        assert!(client.gets_no_answer().await, "and the connection stays");
        rig.hold(false);
        assert_eq!(client.answer().await, ok(1, 1));
        assert_eq!(client.answer().await, "", "the connection ends");
        rig.stop(running).await;
        assert_eq!(rig.bodies(2).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn an_adaptor_that_stops_without_syncing_does_not_answer() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        rig.hold(true);
        client.send("a\n{\"$ack\":1}\n").await;
        assert!(client.gets_no_answer().await);
        rig.stop(running).await;
        assert_eq!(client.answer().await, "");
    }

    #[tokio::test]
    async fn a_producer_that_does_not_read_its_answers_is_disconnected_and_holds_nobody_up() {
        let (rig, stop, gone) = (Rig::new(), CancellationToken::new(), CancellationToken::new());
        let (_unread, writer) = tokio::io::duplex(16);
        let (sender, queue) = mpsc::channel(4);
        let giving = answers::give(writer, queue, A_WHILE, &stop, &gone);
        let asking =
            async { while sender.send(Group::default().end(request(b"{\"$ack\":1}").unwrap())).await.is_ok() {} };
        timeout(PATIENCE, async { tokio::join!(giving, asking) }).await.unwrap();
        assert!(gone.is_cancelled());
        drop(rig);
    }

    #[tokio::test]
    async fn requests_beyond_the_limit_wait_in_the_socket() {
        let rig = Rig::new();
        let (mut client, running) = rig.connected().await;
        rig.hold(true);
        client.send("a\n").await;
        let sent = 20 * WAITING_MAX;
        let requests = "{\"$ack\":12345}\nb\n".repeat(sent);
        let (mut reader, mut writer) = client.0.into_inner().into_split();
        let sending = tokio::spawn(async move {
            writer.write_all(requests.as_bytes()).await.unwrap();
            writer
        });
        sleep(2 * A_WHILE).await;
        let taken = rig.context.counters.records_in.get() as usize;
        assert!(taken <= WAITING_MAX + 10, "{taken} taken, {sent} sent");
        rig.hold(false);
        let mut answers = 0;
        let mut buffer = vec![0; 1 << 16];
        while answers < sent {
            let read = timeout(PATIENCE, reader.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0);
            answers += buffer[..read].iter().filter(|&&byte| byte == b'\n').count();
        }
        drop(sending.await.unwrap());
        rig.stop(running).await;
    }
}

mod binding {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    async fn refusal(rig: &Rig, settings: UnixSource) -> String {
        rig.refusal(Source::new("in", SourceKind::Unix(settings))).await
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_has_the_mode_and_the_owner_of_its_settings() {
        for socket in [UnixSocketKind::Stream, UnixSocketKind::Datagram] {
            let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
            let path = folder.path().join("socket");
            let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            for (bits, owner) in [(0o600, None), (0o666, None), (0o620, Some(format!("{user}:{group}")))] {
                let settings = UnixSource { socket, mode: bits, owner, ..UnixSource::at(&path) };
                let rig = Rig::new();
                let running = rig.unix(Format::Lines, settings).await;
                assert_eq!(mode(&path), bits);
                rig.stop(running).await;
            }
            let settings = UnixSource { owner: Some("nobody-knows".to_owned()), ..UnixSource::at(&path) };
            assert!(refusal(&rig, settings).await.contains("no user `nobody-knows`"));
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_record_of_a_unix_socket_says_who_sent_it() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let settings = UnixSource { peer_credentials: true, ..UnixSource::at(&path) };
        let running = rig.unix(Format::Json, settings).await;
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"plain\n{\"body\":\"forged\",\"process.user.id\":\"0\",\"k\":\"v\"}\n").await.unwrap();
        client.write_all(b"{\"body\":\"nested\",\"attributes\":{\"process.pid\":\"1\"}}\n").await.unwrap();
        let bodies = rig.bodies(3).await;
        let seen = rig.synced.lock().unwrap().clone();
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        for seen in &seen {
            assert_eq!(seen.attributes["process.pid"], std::process::id().to_string(), "{seen:?}");
            assert_eq!(seen.attributes["process.user.id"], user.to_string(), "{seen:?}");
            assert_eq!(seen.attributes["process.group.id"], group.to_string(), "{seen:?}");
        }
        assert_eq!((bodies.len(), seen[1].attributes.get("k").map(String::as_str)), (3, Some("v")), "{seen:?}");
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_process_is_replaced() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let running = rig.unix(Format::Lines, UnixSource::at(&path)).await;
        UnixStream::connect(&path).await.unwrap().write_all(b"a\n").await.unwrap();
        assert_eq!(rig.bodies(1).await, ["a"]);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_socket_that_somebody_holds_is_left_alone() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("stream");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(refusal(&rig, UnixSource::at(&path)).await.contains("another program listens"));
        let path = folder.path().join("datagram");
        let _socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert!(refusal(&rig, UnixSource::at(&path)).await.contains("another program listens"));
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("file");
        std::fs::write(&path, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for other in [&path, &link, &folder.path().to_owned()] {
            assert!(refusal(&rig, UnixSource::at(other)).await.contains("is not a socket: remove it"));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn the_file_of_another_socket_is_not_removed_when_ours_stops() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let running = rig.unix(Format::Lines, UnixSource::at(&path)).await;
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        std::fs::write(&path, "not ours").unwrap();
        rig.stop(running).await;
        assert_eq!(std::fs::read(&path).unwrap(), b"not ours");
    }

    #[tokio::test]
    async fn paths_that_cannot_be_sockets_say_why() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let long = folder.path().join("x".repeat(108));
        let message = refusal(&rig, UnixSource::at(long)).await;
        assert!(message.contains("has room for 107: set a shorter `path`"), "{message}");
        let message = refusal(&rig, UnixSource::at(folder.path().join("no/socket"))).await;
        assert!(message.contains("create its folder first"), "{message}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_the_fix() {
        let rig = Rig::new();
        let taken = std::net::TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
        let _tcp = std::net::TcpListener::bind(taken).unwrap();
        let settings = TcpSource::at(taken);
        let message = rig.refusal(Source::new("in", SourceKind::Tcp(settings))).await;
        assert!(message.contains(&taken.to_string()) && message.contains("set another `listen`"), "{message}");

        let udp = std::net::UdpSocket::bind(any_port()).unwrap();
        let settings = UdpSource::at(udp.local_addr().unwrap());
        let message = rig.refusal(Source::new("in", SourceKind::Udp(settings))).await;
        assert!(message.contains("another program has it"), "{message}");
    }
}
