//! The source against clients that send bytes as real ones do.

use std::time::Duration;

use logboom_config::{SourceKind, TcpSource, UnixSource};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::source::exchange::testing::Client;
use crate::source::testing::{PATIENCE, Rig, Seen, context, every_split, free_address, fuzz, gzip};

/// 2023-11-14T22:13:20.5Z.
const EVENT_TIME: &[u8] = b"\xd7\0\x65\x53\xf1\x00\x1d\xcd\x65\x00";

fn settings() -> ForwardSource {
    ForwardSource { transport: Transport::Tcp(TcpSource::at(free_address())), ..ForwardSource::default() }
}

fn source(settings: &ForwardSource) -> Source {
    Source::new("forward", SourceKind::Forward(settings.clone()))
}

/// A source that is open, and how to connect to it.
struct Opened {
    settings: ForwardSource,
    running: JoinHandle<()>,
}

impl Rig {
    async fn forward(&self, settings: ForwardSource) -> Opened {
        let running = self.open(source(&settings)).await;
        Opened { settings, running }
    }
}

impl Opened {
    async fn connect(&self) -> Client<TcpStream> {
        let Transport::Tcp(tcp) = &self.settings.transport else { panic!("it is not on TCP") };
        Client::connect(tcp.listen).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn gets(&mut self, wanted: &[u8]) {
        let mut got = vec![0; wanted.len()];
        timeout(PATIENCE, self.0.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got.escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }
}

/// A value as MessagePack.
fn text(text: &str) -> Vec<u8> {
    [&[0xdb][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    [&[0xc6][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn array(parts: &[&[u8]]) -> Vec<u8> {
    [&[0x90 | parts.len() as u8], &parts.concat()[..]].concat()
}

fn many(parts: &[Vec<u8>]) -> Vec<u8> {
    [&[0xdd][..], &(parts.len() as u32).to_be_bytes(), &parts.concat()].concat()
}

/// A record with this body.
fn log(body: &[u8]) -> Vec<u8> {
    record(&[("log", &binary(body))])
}

fn record(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = vec![0x80 | pairs.len() as u8];
    pairs.iter().for_each(|(name, value)| out.extend([text(name), value.to_vec()].concat()));
    out
}

fn message(tag: &str, record: &[u8], chunk: &str) -> Vec<u8> {
    array(&[&text(tag), EVENT_TIME, record, &self::record(&[("chunk", &text(chunk))])])
}

fn ack(chunk: &str) -> Vec<u8> {
    [b"\x81\xa3ack", &text(chunk)[..]].concat()
}

fn of(tag: &str, body: &str) -> Seen {
    Seen::new(tag, body).with("fluent.tag", tag)
}

mod modes {
    use super::*;

    #[tokio::test]
    async fn every_mode_is_taken_and_its_chunk_acknowledged() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        let event = |body: &str| array(&[EVENT_TIME, &log(body.as_bytes())]);
        let option = |chunk: &str, compressed: &str| {
            record(&[("size", &[2]), ("chunk", &text(chunk)), ("compressed", &text(compressed))])
        };
        let packed = |from: &str, to: &str| [event(from), event(to)].concat();
        client.send(&message("t.message", &log(b"1"), "a")).await;
        client.gets(&ack("a")).await;
        let forward = many(&[event("2"), event("3")]);
        client.send(&array(&[&text("t.forward"), &forward, &record(&[("chunk", &text("b"))])])).await;
        client.gets(&ack("b")).await;
        client.send(&array(&[&text("t.packed"), &binary(&packed("4", "5")), &option("c", "text")])).await;
        client.gets(&ack("c")).await;
        // Old clients have no bytes, only texts.
        let old = packed("6", "7");
        let old = [&[0xda][..], &(old.len() as u16).to_be_bytes(), &old].concat();
        client.send(&array(&[&text("t.old"), &old, &option("d", "text")])).await;
        client.gets(&ack("d")).await;
        let members = [gzip(&packed("8", "9")), gzip(&event("10"))].concat();
        client.send(&array(&[&text("t.gzip"), &binary(&members), &option("e", "gzip")])).await;
        client.gets(&ack("e")).await;
        let zstd = zstd::encode_all(&packed("11", "12")[..], 1).unwrap();
        client.send(&array(&[&text("t.zstd"), &binary(&zstd), &option("f", "zstd")])).await;
        client.gets(&ack("f")).await;
        client.send(&array(&[&text("t.none"), &binary(b""), &option("g", "text")])).await;
        client.gets(&ack("g")).await;
        let wanted = [
            of("t.message", "1"),
            of("t.forward", "2"),
            of("t.forward", "3"),
            of("t.packed", "4"),
            of("t.packed", "5"),
            of("t.old", "6"),
            of("t.old", "7"),
            of("t.gzip", "8"),
            of("t.gzip", "9"),
            of("t.gzip", "10"),
            of("t.zstd", "11"),
            of("t.zstd", "12"),
        ];
        assert_eq!(rig.records(12).await, wanted);
        rig.stop(opened.running).await;
    }

    #[tokio::test]
    async fn options_may_be_absent_or_nil_and_then_nothing_is_answered() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        client.send(&array(&[&text("t"), &[1], &log(b"1")])).await;
        client.send(b"\xc0").await;
        client.send(&array(&[&text("t"), &[1], &log(b"2"), &[0xc0]])).await;
        client.send(&array(&[&text("t"), &many(&[array(&[&[1], &log(b"3")])])])).await;
        client.send(&array(&[&text("t"), &binary(&array(&[&[1], &log(b"4")])), &[0x80]])).await;
        assert_eq!(rig.bodies(4).await, ["1", "2", "3", "4"]);
        assert!(client.gets_no_answer().await);
        rig.stop(opened.running).await;
    }

    #[tokio::test]
    async fn unix_sockets_are_spoken_on_too() {
        let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("socket");
        let transport = Transport::Unix(UnixSource::at(&path));
        let opened = rig.forward(ForwardSource { transport, ..ForwardSource::default() }).await;
        let mut client = Client(UnixStream::connect(&path).await.unwrap());
        client.send(&message("t", &log(b"1"), "a")).await;
        client.gets(&ack("a")).await;
        rig.stop(opened.running).await;
    }
}

mod records {
    use super::*;

    /// What becomes of a record of the tag `t`.
    async fn seen(record: &[u8]) -> Seen {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        client.send(&message("t", record, "a")).await;
        client.gets(&ack("a")).await;
        rig.records(1).await.remove(0)
    }

    #[tokio::test]
    async fn the_body_is_log_or_else_message_or_else_msg_and_the_rest_are_attributes() {
        let (log, message, msg) = (text("l"), text("m"), binary(b"s"));
        let all = record(&[("msg", &msg), ("message", &message), ("log", &log), ("x", &text("y"))]);
        assert_eq!(seen(&all).await, of("t", "l").with("message", "m").with("msg", "s").with("x", "y"));
        assert_eq!(seen(&record(&[("msg", &msg), ("message", &message)])).await, of("t", "m").with("msg", "s"));
        assert_eq!(seen(&record(&[("msg", &msg), ("log", &[7])])).await, of("t", "s").with("log", "7"));
        let none = seen(&record(&[("log", &[7]), ("a", &text("\""))])).await;
        assert_eq!(none, of("t", r#"{"log":7,"a":"\""}"#).with("log", "7").with("a", "\""));
        assert_eq!(seen(&[0x80]).await, of("t", "{}"));
        assert_eq!(seen(&record(&[("log", &text("old")), ("log", &text("new"))])).await, of("t", "new"));
    }

    #[tokio::test]
    async fn attributes_are_texts_numbers_as_written_and_json() {
        let pairs: [(&str, &[u8]); 12] = [
            ("log", b"\xa0"),
            ("text", b"\xa2\xc3\xa9"),
            ("odd", b"\xa1\xff"),
            ("int", b"\xd1\xff\0"),
            ("big", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("float", b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"),
            ("nan", b"\xca\x7f\xc0\0\0"),
            ("yes", b"\xc3"),
            ("nil", b"\xc0"),
            ("map", b"\x82\xa1k\x92\x01\xc0\x05\x80"),
            ("ext", b"\xd4\x05\xab"),
            ("int", b"\x05"),
        ];
        let wanted = [
            ("text", "é"),
            ("odd", "\u{fffd}"),
            ("big", "18446744073709551615"),
            ("float", "0.1"),
            ("nan", "NaN"),
            ("yes", "true"),
            ("map", r#"{"k":[1,null],"5":{}}"#),
            ("ext", "ab"),
            ("int", "5"),
        ];
        let wanted = wanted.iter().fold(of("t", ""), |seen, (key, value)| seen.with(key, value));
        assert_eq!(seen(&record(&pairs)).await, wanted);
        // A name need not be a text.
        assert_eq!(seen(b"\x82\xa3log\xa1x\x07\x08").await, of("t", "x").with("7", "8"));
    }

    #[tokio::test]
    async fn any_bytes_of_a_body_are_kept() {
        for body in [&b""[..], b"a\nb\n", b"\0", &b"long ".repeat(200 << 10)] {
            assert_eq!(seen(&log(body)).await.body.as_bytes(), body);
        }
        assert_eq!(seen(&log(b"caf\xe9")).await.body, "caf\u{fffd}", "shown as text here, bytes in the block");
    }

    #[tokio::test]
    async fn more_attributes_than_a_record_may_have_are_counted_and_the_body_has_them_all() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        let pairs: Vec<u8> = (0..300).flat_map(|n| [text(&n.to_string()), vec![0x91, 0x01]].concat()).collect();
        client.send(&message("t", &[&b"\xde\x01\x2c"[..], &pairs].concat(), "a")).await;
        client.gets(&ack("a")).await;
        let seen = rig.records(1).await.remove(0);
        assert_eq!(seen.attributes.len(), 257);
        assert!(seen.body.ends_with(r#""299":[1]}"#));
        assert_eq!(rig.context.counters.attributes_dropped.get(), 44);
    }

    #[test]
    fn times_are_event_times_or_seconds() {
        use super::super::msgpack::Value;
        let time = super::super::record::time;
        assert_eq!(time(Reader::new(EVENT_TIME).value().unwrap()), Some(1_700_000_000_500_000_000));
        assert_eq!(time(Value::Unsigned(1_700_000_000)), Some(1_700_000_000_000_000_000));
        assert_eq!(time(Value::F64(1_700_000_000.5)), Some(1_700_000_000_500_000_000));
        assert_eq!(time(Value::Signed(-1)), Some(-1_000_000_000));
        let none = [
            Value::Nil,
            Value::Signed(0),
            Value::Unsigned(u64::MAX),
            Value::Signed(i64::MIN),
            Value::F64(f64::NAN),
            Value::F64(f64::INFINITY),
            Value::F32(1e30),
            Value::Str(b"2023-11-14"),
            Value::Ext(0, b"1234567"),
            Value::Ext(1, b"12345678"),
        ];
        none.into_iter().for_each(|value| assert_eq!(time(value), None, "{value:?}"));
    }

    #[tokio::test]
    async fn metadata_of_fluent_bit_is_an_attribute() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        let events = [&b"\x80"[..], &record(&[("k", &text("v"))])]
            .map(|metadata| array(&[&array(&[EVENT_TIME, metadata]), &log(b"x")]))
            .concat();
        client.send(&array(&[&text("t"), &binary(&events)])).await;
        let wanted = [of("t", "x"), of("t", "x").with("fluent.metadata", r#"{"k":"v"}"#)];
        assert_eq!(rig.records(2).await, wanted);
        rig.stop(opened.running).await;
    }

    #[tokio::test]
    async fn many_tags_each_keep_their_category() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        let messages: Vec<u8> =
            (0..200).flat_map(|n| message(&format!("t{}", n % 40), &log(b"x"), &n.to_string())).collect();
        client.send(&messages).await;
        let seen = rig.records(200).await;
        assert!(seen.iter().all(|seen| seen.attributes["fluent.tag"] == seen.category));
        let fixed = ForwardSource::default();
        assert_eq!(source(&fixed).category.to_string(), "{tag}");
        rig.stop(opened.running).await;
    }
}

mod answers {
    use super::*;

    #[tokio::test]
    async fn nothing_is_acknowledged_before_it_is_durable() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        rig.hold(true);
        for n in 0..5 {
            client.send(&message("t", &log(b"x"), &n.to_string())).await;
        }
        assert!(client.gets_no_answer().await);
        rig.hold(false);
        for n in 0..5 {
            client.gets(&ack(&n.to_string())).await;
        }
        rig.stop(opened.running).await;
    }

    #[tokio::test]
    async fn a_full_spool_is_no_acknowledgement_and_a_closed_connection() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        client.send(&message("t", &log(b"1"), "a")).await;
        client.gets(&ack("a")).await;
        rig.context.intake.refuse_all(true);
        client.send(&message("t", &log(b"2"), "b")).await;
        assert!(client.is_disconnected().await);
        rig.context.intake.refuse_all(false);
        let mut again = opened.connect().await;
        again.send(&message("t", &log(b"2"), "b")).await;
        again.gets(&ack("b")).await;
        assert_eq!(rig.bodies(2).await, ["1", "2"]);
        rig.stop(opened.running).await;
    }

    #[tokio::test]
    async fn a_stopped_source_acknowledges_what_was_sent() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        client.send(&message("t", &log(b"1"), "a")).await;
        client.gets(&ack("a")).await;
        client.0.try_write(&message("t", &log(b"2"), "b")).unwrap();
        rig.stop(opened.running).await;
        client.gets(&ack("b")).await;
        assert!(client.is_disconnected().await);
    }

    #[tokio::test]
    async fn a_message_of_many_events_is_handed_over_in_parts_and_acknowledged_once() {
        let rig = Rig::new();
        let opened = rig.forward(settings()).await;
        let mut client = opened.connect().await;
        let event = array(&[EVENT_TIME, &log(&b"x".repeat(1000))]);
        let option = record(&[("chunk", &text("a")), ("compressed", &text("gzip"))]);
        client.send(&array(&[&text("t"), &binary(&gzip(&event.repeat(5000))), &option])).await;
        client.gets(&ack("a")).await;
        client.send(&array(&[&text("t"), &binary(&event.repeat(5000)), &record(&[("chunk", &text("b"))])])).await;
        client.gets(&ack("b")).await;
        assert_eq!(rig.bodies(10_000).await.len(), 10_000);
        rig.stop(opened.running).await;
    }
}

mod refusals {
    use super::*;

    #[tokio::test]
    async fn a_malformed_message_ends_its_connection_and_none_of_its_events_is_taken() {
        let rig = Rig::new();
        let opened = rig.forward(ForwardSource { max_frame: 64 << 10, ..settings() }).await;
        let mut other = opened.connect().await;
        let good = array(&[EVENT_TIME, &log(b"bad")]);
        let gzipped = record(&[("compressed", &text("gzip"))]);
        let bad: [Vec<u8>; 18] = [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"{\"json\":1}".to_vec(),
            b"\xc1".to_vec(),
            b"\x90".to_vec(),
            b"\xdd\xff\xff\xff\xff".to_vec(),
            b"\xc6\0\x01\0\x01".to_vec(),
            array(&[&[1], &[1], &log(b"bad")]),
            array(&[&text("t"), &[1], &text("bad")]),
            array(&[&text("t"), &[1]]),
            array(&[&text("t"), &binary(&good), &record(&[]), &[1]]),
            array(&[&text("t"), &many(&[good.clone(), log(b"bad")])]),
            array(&[&text("t"), &binary(&[&good[..], &good[..20]].concat())]),
            array(&[&text("t"), &binary(&[&good[..], b"\x93\x01\x80\x80"].concat())]),
            array(&[&text("t"), &binary(&good), &gzipped]),
            array(&[&text("t"), &many(std::slice::from_ref(&good)), &gzipped]),
            array(&[&text("t"), &binary(&gzip(&b"\xc0".repeat(100_000))), &gzipped]),
            array(&[&text(&"t".repeat(1025)), &[1], &log(b"bad")]),
            array(&[&text("t"), &binary(&good), &record(&[("fluent_signal", &[1])])]),
        ];
        for (n, bad) in bad.iter().enumerate() {
            let mut client = opened.connect().await;
            client.send(&message("t", &log(b"before"), "a")).await;
            client.gets(&ack("a")).await;
            client.send(bad).await;
            assert!(client.is_disconnected().await, "{}", bad.escape_ascii());
            assert_eq!(rig.context.counters.messages_refused.get(), n as u64 + 1);
        }
        other.send(&message("t", &log(b"other"), "b")).await;
        other.gets(&ack("b")).await;
        let bodies = rig.bodies(bad.len() + 1).await;
        assert!(bodies.iter().all(|body| body == "before" || body == "other"));
        rig.stop(opened.running).await;
    }
}

mod shared_key {
    use super::handshake::tests::ping;
    use super::*;

    async fn opened(rig: &Rig) -> Opened {
        rig.forward(ForwardSource { shared_key: Some(Secret::new("swordfish")), ..settings() }).await
    }

    async fn helo(client: &mut Client<TcpStream>) -> Vec<u8> {
        let mut helo = vec![0; 48];
        let length = timeout(PATIENCE, client.0.read(&mut helo)).await.unwrap().unwrap();
        helo.truncate(length);
        assert!(helo.starts_with(b"\x92\xa4HELO\x83\xa5nonce\xc4\x10"));
        assert!(helo.ends_with(b"\xa4auth\xa0\xa9keepalive\xc3"));
        helo
    }

    #[tokio::test]
    async fn who_proves_the_key_is_let_in() {
        let rig = Rig::new();
        let opened = opened(&rig).await;
        let mut client = opened.connect().await;
        let helo = helo(&mut client).await;
        // What follows may come at once.
        client.send(&[ping(&helo, "swordfish"), message("t", &log(b"x"), "a")].concat()).await;
        client.gets(b"\x95\xa4PONG\xc3\xa0").await;
        let mut rest = vec![0; 15 + 130];
        client.0.read_exact(&mut rest).await.unwrap();
        client.gets(&ack("a")).await;
        rig.stop(opened.running).await;
    }

    #[tokio::test]
    async fn who_does_not_is_told_so_and_nothing_of_it_is_taken() {
        let rig = Rig::new();
        let opened = opened(&rig).await;
        for key in ["sword", ""] {
            let mut client = opened.connect().await;
            let helo = helo(&mut client).await;
            client.send(&[ping(&helo, key), message("t", &log(b"x"), "a")].concat()).await;
            client.gets(b"\x95\xa4PONG\xc2\xbethe shared key is not the same\xa0\xa0").await;
            assert!(client.is_disconnected().await);
        }
        let mut client = opened.connect().await;
        helo(&mut client).await;
        client.send(&message("t", &log(b"x"), "a")).await;
        client.gets(b"\x95\xa4PONG\xc2\xb2a PING is expected\xa0\xa0").await;
        assert!(client.is_disconnected().await);
        let mut client = opened.connect().await;
        helo(&mut client).await;
        client.send(&[&b"\x96\xc6\0\0\x20\0"[..], &[0; 100]].concat()).await;
        assert!(client.is_disconnected().await, "a PING is short");
        sleep(Duration::from_millis(20)).await;
        assert_eq!(rig.context.counters.records_in.get(), 0);
        assert_eq!(rig.context.counters.handshakes_failed.get(), 3);
        rig.stop(opened.running).await;
    }
}

/// All that the source makes of bytes in these pieces: records, answers, and whether the connection goes on.
fn converse(pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>, bool) {
    let context = context();
    let events = Conversation::new(Inlet::new(source(&settings()), context.clone()), None, 64 << 10, 500);
    exchange::testing::converse(events, &context.intake, pieces)
}

fn corpus() -> Vec<Vec<u8>> {
    let event = array(&[EVENT_TIME, b"\x83\xa3log\xa1x\xa1k\x92\xc3\x80\x01\xc0"]);
    let gzipped = record(&[("compressed", &text("gzip")), ("chunk", &text("c"))]);
    vec![
        message("t", &log(b"x"), "a"),
        array(&[&text("t"), &many(&[event.clone(), event.clone()]), &record(&[("chunk", b"\xc4\x01b")])]),
        array(&[&text("u"), &binary(&event.repeat(3))]),
        b"\xc0".to_vec(),
        array(&[&text("t"), &binary(&gzip(&event)), &gzipped]),
        array(&[&text("t"), &[1], &record(&[("k", b"\x82\xa1a\x91\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\x05\xa1\xff")])]),
    ]
}

#[test]
fn messages_mean_the_same_however_their_bytes_are_cut() {
    let messages = corpus().concat();
    let whole = converse(&[&messages]);
    assert_eq!((whole.0.len(), whole.2), (8, true));
    every_split(&messages, |pieces| assert_eq!(converse(pieces), whole));
}

#[test]
fn no_bytes_make_the_source_panic() {
    let corpus = corpus();
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    fuzz(&corpus, |bytes| {
        converse(&[bytes]);
    });
}
