//! The source against clients that send bytes as real ones do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use logboom_config::{ScribeSource, Source, SourceKind};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::wire::{self, Header, Reader};
use super::*;
use crate::source::exchange::testing::{self, Client};
use crate::source::observed_now;
use crate::source::testing::{PATIENCE, Rig, Seen, context, every_split, free_address, fuzz};

static SHUTDOWNS: AtomicUsize = AtomicUsize::new(0);

fn settings() -> ScribeSource {
    let mut settings = ScribeSource::default();
    settings.tcp.listen = free_address();
    settings
}

fn source(settings: &ScribeSource) -> Source {
    Source::new("scribe", SourceKind::Scribe(settings.clone()))
}

async fn opened(rig: &Rig, settings: ScribeSource) -> (Client<TcpStream>, JoinHandle<()>) {
    let address = settings.tcp.listen;
    let open = open_with(source(&settings), settings, rig.context.clone(), rig.stop.clone(), || {
        SHUTDOWNS.fetch_add(1, Ordering::Relaxed);
    });
    let running = tokio::spawn(open.unwrap());
    (Client::connect(address).await, running)
}

impl Client<TcpStream> {
    /// The next answer without its length; empty where the connection has ended.
    async fn answer(&mut self) -> Vec<u8> {
        let read = async {
            let Ok(length) = self.0.read_u32().await else { return Vec::new() };
            let mut answer = vec![0; length as usize];
            self.0.read_exact(&mut answer).await.unwrap();
            answer
        };
        timeout(PATIENCE, read).await.unwrap()
    }
}

/// A call with these arguments, without the end of their struct.
fn call(strict: bool, message: u8, name: &str, sequence: i32, arguments: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header { strict, message: 0, name: name.as_bytes(), sequence };
    wire::answer(&mut out, header, message, |out| out.extend_from_slice(arguments));
    out
}

fn text_argument(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    wire::field(&mut out, wire::kind::STRING, 1);
    wire::string(&mut out, text.as_bytes());
    out
}

fn messages(messages: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::field(&mut out, wire::kind::LIST, 1);
    out.push(wire::kind::STRUCT);
    out.extend((messages.len() as u32).to_be_bytes());
    for (category, message) in messages {
        wire::field(&mut out, wire::kind::STRING, 1);
        wire::string(&mut out, category);
        wire::field(&mut out, wire::kind::STRING, 2);
        wire::string(&mut out, message);
        out.push(wire::kind::STOP);
    }
    out
}

fn log(sequence: i32, entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    call(true, wire::CALL, "Log", sequence, &messages(entries))
}

fn result(sequence: i32, code: u8) -> Vec<u8> {
    call(true, wire::REPLY, "Log", sequence, &[8, 0, 0, 0, 0, 0, code])[4..].to_vec()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

mod log {
    use super::*;

    #[tokio::test]
    async fn the_captured_calls_are_answered_ok_in_their_own_style() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        let body = "0f0001 0c 00000001 0b0001 00000004 4c4f4753 0b0002 00000005 68656c6c6f 00 00";
        client.send(&hex(&format!("0000002d 00000003 4c6f67 01 00000000 {body}"))).await;
        assert_eq!(client.answer().await, hex("00000003 4c6f67 02 00000000 080000 00000000 00"));
        client.send(&hex(&format!("00000030 80010001 00000003 4c6f67 00000007 {body}"))).await;
        assert_eq!(client.answer().await, hex("80010002 00000003 4c6f67 00000007 080000 00000000 00"));
        assert_eq!(rig.records(2).await, [Seen::new("LOGS", "hello"), Seen::new("LOGS", "hello")]);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn nothing_is_answered_before_it_is_durable_and_then_all_in_order() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        rig.hold(true);
        for sequence in 0..5 {
            client.send(&log(sequence, &[(b"c", b"x"), (b"d", b"y")])).await;
            client.send(&call(true, wire::CALL, "getVersion", 100 + sequence, &[])).await;
        }
        assert!(client.gets_no_answer().await);
        assert!(rig.synced.lock().unwrap().is_empty());
        rig.hold(false);
        for sequence in 0..5 {
            assert_eq!(client.answer().await, result(sequence, 0));
            assert!(client.answer().await.windows(4).any(|bytes| bytes == (100 + sequence).to_be_bytes()));
        }
        assert_eq!(rig.bodies(10).await.len(), 10);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_full_spool_is_try_later_and_nothing_of_the_call_is_taken() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        rig.context.intake.refuse_all(true);
        client.send(&[log(1, &[(b"c", b"x"), (b"d", b"y")]), log(2, &[(b"c", b"z")]), log(3, &[])].concat()).await;
        assert_eq!(client.answer().await, result(1, 1));
        assert_eq!(client.answer().await, result(2, 1));
        assert_eq!(client.answer().await, result(3, 0), "nothing was asked of the spool");
        client.send(&call(true, wire::CALL, "getStatus", 4, &[])).await;
        assert!(client.answer().await.ends_with(&[8, 0, 0, 0, 0, 0, 5, 0]), "WARNING");
        rig.context.intake.refuse_all(false);
        client.send(&log(5, &[(b"c", b"x")])).await;
        assert_eq!(client.answer().await, result(5, 0));
        assert_eq!(rig.bodies(1).await, ["x"]);
        assert_eq!(rig.context.counters.records_refused_full.get(), 3);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn any_bytes_are_kept() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        let long = "long ".repeat(200 << 10);
        let bodies: [&[u8]; 5] = [b"", b"a\nb\n", b"\0", b"caf\xe9", long.as_bytes()];
        client.send(&log(1, &bodies.map(|body| (&b"c"[..], body)))).await;
        assert_eq!(client.answer().await, result(1, 0));
        let seen = rig.bodies(5).await;
        assert_eq!(seen[..4], ["", "a\nb\n", "\0", "caf\u{fffd}"], "shown as text here, bytes in the block");
        assert_eq!(seen[4].len(), long.len());
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_a_category_is_an_attribute_and_odd_bytes_are_escaped() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        let long = "x".repeat(300);
        let names: [&[u8]; 6] = [b"a/../b", b"", b"a\nb", long.as_bytes(), b"caf\xe9", "é".as_bytes()];
        client.send(&log(1, &names.map(|name| (name, name)))).await;
        assert_eq!(client.answer().await, result(1, 0));
        let mut seen = rig.records(6).await;
        seen.sort_by(|a, b| (&a.category, &a.body).cmp(&(&b.category, &b.body)));
        let odd = |body: &str, name: &str| Seen::new("scribe", body).with("logboom.category", name);
        let wanted = [
            Seen::new("a/../b", "a/../b"),
            Seen::new("caf\\xe9", "caf\u{fffd}").with("logboom.category", "caf\\xe9"),
            odd("", ""),
            odd("a\nb", "a\nb"),
            odd(&long, &long[..256]),
            Seen::new("é", "é"),
        ];
        assert_eq!(seen, wanted);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn unknown_fields_are_left_out_and_absent_ones_are_empty() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        let entries: [&[u8]; 4] = [
            // Nothing; a field of a later version; a category of another type; the fields the other way round.
            b"\0",
            b"\x0d\0\x09\x0b\x0a\0\0\0\x01\0\0\0\x01k12345678\x0b\0\x02\0\0\0\x01v\0",
            b"\x08\0\x01\0\0\0\x07\x0b\0\x02\0\0\0\x01w\0",
            b"\x0b\0\x02\0\0\0\x01b\x0b\0\x01\0\0\0\x01c\0",
        ];
        let unknown = b"\x0c\0\x05\x02\0\x01\x01\0";
        let arguments = [&unknown[..], b"\x0f\0\x01\x0c\0\0\0\x04", &entries.concat(), unknown].concat();
        client.send(&call(false, wire::CALL, "Log", 3, &arguments)).await;
        assert_eq!(client.answer().await, call(false, wire::REPLY, "Log", 3, &[8, 0, 0, 0, 0, 0, 0])[4..]);
        let mut seen = rig.records(4).await;
        seen.sort_by(|a, b| (&a.category, &a.body).cmp(&(&b.category, &b.body)));
        let plain = |body| Seen::new("scribe", body);
        assert_eq!(seen, [Seen::new("c", "b"), plain(""), plain("v"), plain("w")]);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn no_messages_at_all_and_a_call_that_wants_no_answer_are_fine() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        client.send(&log(1, &[])).await;
        client.send(&call(true, wire::CALL, "Log", 2, &[])).await;
        client.send(&call(true, wire::ONEWAY, "Log", 3, &messages(&[(b"c", b"x")]))).await;
        client.send(&log(4, &[(b"c", b"y")])).await;
        for sequence in [1, 2, 4] {
            assert_eq!(client.answer().await, result(sequence, 0));
        }
        assert_eq!(rig.bodies(2).await, ["x", "y"]);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn a_call_of_many_messages_is_handed_over_in_parts_and_answered_once() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        let body = b"x".repeat(1000);
        let entries: Vec<(&[u8], &[u8])> = vec![(b"c", &body); 5000];
        client.send(&[log(1, &entries), log(2, &[(b"c", b"last")])].concat()).await;
        assert_eq!(client.answer().await, result(1, 0));
        assert_eq!(client.answer().await, result(2, 0));
        assert_eq!(rig.bodies(5001).await.last().unwrap(), "last");
        rig.stop(running).await;
    }
}

mod refusals {
    use super::*;

    #[tokio::test]
    async fn a_malformed_call_is_answered_with_an_exception_its_records_are_not_taken_and_its_connection_ends() {
        let rig = Rig::new();
        let settings = settings();
        let address = settings.tcp.listen;
        let (_, running) = opened(&rig, settings).await;
        let mut other = Client::connect(address).await;
        let good = messages(&[(b"c", b"x")]);
        for (arguments, reason) in [
            ([&good[..], b"\x0b\0\x02\0\0\0\x09short"].concat(), "it is cut short"),
            ([&good[..], &good].concat(), "it has two lists of messages"),
            (b"\x0f\0\x01\x08\0\0\0\x01\0\0\0\x01".to_vec(), "its messages are not structs"),
            ([&good[..], b"\0trailing"].concat(), "there are 9 bytes behind its end"),
        ] {
            let mut client = Client::connect(address).await;
            client.send(&log(1, &[(b"c", b"before")])).await;
            client.send(&call(true, wire::CALL, "Log", 2, &arguments)).await;
            client.send(&log(3, &[(b"c", b"after")])).await;
            assert_eq!(client.answer().await, result(1, 0));
            let answer = client.answer().await;
            let mut reader = Reader::new(&answer);
            assert_eq!(reader.header().unwrap().message, wire::EXCEPTION);
            assert_eq!(reader.field(), Ok(Some((wire::kind::STRING, 1))));
            assert_eq!(reader.string().unwrap(), reason.as_bytes());
            assert!(answer.ends_with(&[8, 0, 2, 0, 0, 0, 7, 0]), "PROTOCOL_ERROR");
            assert!(client.is_disconnected().await);
        }
        other.send(&log(1, &[(b"c", b"other")])).await;
        assert_eq!(other.answer().await, result(1, 0));
        assert_eq!(rig.bodies(5).await, ["before", "before", "before", "before", "other"]);
        assert_eq!(rig.context.counters.messages_refused.get(), 4);
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn frames_that_are_too_long_or_none_at_all_end_the_connection() {
        let rig = Rig::new();
        let settings = ScribeSource { max_frame: 64 << 10, ..settings() };
        let address = settings.tcp.listen;
        let (_, running) = opened(&rig, settings).await;
        let long = vec![b'x'; (64 << 10) - 39];
        for bytes in [
            &b"\x7f\xff\xff\xff"[..],
            b"\0\x01\0\x01",
            b"\0\0\0\0",
            b"GET / HTTP/1.1\r\n\r\n",
            // Without frames.
            b"\x80\x01\0\x01\0\0\0\x03Log\0\0\0\x01\0",
            // An answer is no call.
            &call(true, wire::REPLY, "Log", 1, &[]),
            &log(1, &[(b"c", &long)]),
        ] {
            let mut client = Client::connect(address).await;
            client.send(bytes).await;
            assert!(client.is_disconnected().await, "{}", bytes[..20.min(bytes.len())].escape_ascii());
        }
        assert_eq!(rig.context.counters.messages_refused.get(), 7);
        let mut client = Client::connect(address).await;
        client.send(&log(1, &[(b"c", &long[1..])])).await;
        assert_eq!(client.answer().await, result(1, 0), "a frame of the most bytes is taken");
        rig.stop(running).await;
    }
}

mod methods {
    use super::*;

    async fn ask(client: &mut Client<TcpStream>, name: &str, arguments: &[u8]) -> Vec<u8> {
        client.send(&call(false, wire::CALL, name, 9, arguments)).await;
        let answer = client.answer().await;
        let mut reader = Reader::new(&answer);
        let header = reader.header().unwrap();
        assert_eq!((header.strict, header.name, header.sequence), (false, name.as_bytes(), 9));
        answer[answer.len() - reader.left()..].to_vec()
    }

    fn text(text: &str) -> Vec<u8> {
        let mut out = vec![wire::kind::STRING, 0, 0];
        wire::string(&mut out, text.as_bytes());
        out.push(0);
        out
    }

    fn long(number: i64) -> Vec<u8> {
        [&[wire::kind::I64, 0, 0][..], &number.to_be_bytes(), &[0]].concat()
    }

    fn holds(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|bytes| bytes == needle)
    }

    #[tokio::test]
    async fn every_method_of_fb303_is_answered() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        let client = &mut client;
        client.send(&log(1, &[(b"c", b"x"), (b"c", b"y")])).await;
        assert_eq!(client.answer().await, result(1, 0));

        assert_eq!(ask(client, "getName", &[]).await, text("scribe"));
        assert_eq!(ask(client, "getVersion", &[]).await, text(env!("CARGO_PKG_VERSION")));
        assert_eq!(ask(client, "getStatus", &[]).await, [8, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(ask(client, "getStatusDetails", &[]).await, text(""));
        assert_eq!(ask(client, "getCpuProfile", b"\x08\0\x01\0\0\0\x05").await, text(""));
        let good = "scribe_overall:received good";
        assert_eq!(ask(client, "getCounter", &text_argument(good)).await, long(2));
        assert_eq!(ask(client, "getCounter", &text_argument("records_in")).await, long(2));
        assert_eq!(ask(client, "getCounter", &text_argument("none")).await, long(0));
        let counters = ask(client, "getCounters", &[]).await;
        assert!(counters.starts_with(&[wire::kind::MAP, 0, 0, wire::kind::STRING, wire::kind::I64]));
        assert!(holds(&counters, b"received good\0\0\0\0\0\0\0\x02"));
        assert!(holds(&counters, b"records_in\0\0\0\0\0\0\0\x02"));
        let now = observed_now() / 1_000_000_000;
        let since = ask(client, "aliveSince", &[]).await;
        let since = i64::from_be_bytes(since[3..11].try_into().unwrap());
        assert!((now - 20..=now).contains(&since));
        assert_eq!(ask(client, "getOption", &text_argument("max_frame")).await, text("16777216"));
        assert_eq!(ask(client, "getOption", &text_argument("none")).await, text(""));
        assert!(holds(&ask(client, "getOptions", &[]).await, b"\0\0\0\x09max_frame\0\0\0\x0816777216"));
        assert!(ask(client, "setOption", &text_argument("max_frame")).await.ends_with(&[8, 0, 2, 0, 0, 0, 6, 0]));
        assert!(ask(client, "log", &[]).await.ends_with(&[8, 0, 2, 0, 0, 0, 1, 0]), "UNKNOWN_METHOD");
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn control_is_ignored_from_strangers_obeyed_from_others_and_never_answered() {
        let rig = Rig::new();
        let before = SHUTDOWNS.load(Ordering::Relaxed);
        for (control_from, obeyed) in [(vec!["10.0.0.1"], 0), (vec!["10.0.0.1", "127.0.0.1"], 2)] {
            let control_from = control_from.iter().map(|ip| ip.parse().unwrap()).collect();
            let (mut client, running) = opened(&rig, ScribeSource { control_from, ..settings() }).await;
            for message in [wire::CALL, wire::ONEWAY] {
                client.send(&call(true, message, "reinitialize", 1, &[])).await;
                client.send(&call(true, message, "shutdown", 2, &[])).await;
            }
            client.send(&log(3, &[(b"c", b"x")])).await;
            assert_eq!(client.answer().await, result(3, 0));
            assert_eq!(SHUTDOWNS.load(Ordering::Relaxed) - before, obeyed);
            running.abort();
        }
        assert_eq!(rig.context.counters.messages_refused.get(), 4);
    }
}

mod ends {
    use super::*;

    #[tokio::test]
    async fn a_stopped_source_answers_what_was_sent() {
        let rig = Rig::new();
        let (mut client, running) = opened(&rig, settings()).await;
        client.send(&log(1, &[(b"c", b"a")])).await;
        assert_eq!(client.answer().await, result(1, 0));
        client.0.try_write(&log(2, &[(b"c", b"b")])).unwrap();
        rig.stop(running).await;
        assert_eq!(client.answer().await, result(2, 0));
        assert!(client.is_disconnected().await);
        assert_eq!(rig.bodies(2).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_connection_without_calls_is_closed_when_it_is_idle_for_too_long() {
        let rig = Rig::new();
        let mut settings = settings();
        settings.tcp.idle_timeout = Duration::from_millis(50);
        let (mut client, running) = opened(&rig, settings).await;
        assert!(client.is_disconnected().await);
        assert_eq!(rig.context.counters.connections_idle.get(), 1);
        rig.stop(running).await;
    }
}

/// All that the source makes of bytes in these pieces: records, answers, and whether the connection goes on.
fn converse(pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>, bool) {
    let context = context();
    let settings = settings();
    let inlet = Inlet::new(source(&settings), context.clone());
    let service = Arc::new(Service::new(inlet, settings, CancellationToken::new(), || {}));
    testing::converse(Calls::new(service, None), &context.intake, pieces)
}

#[test]
fn calls_mean_the_same_however_their_bytes_are_cut() {
    let calls = [
        log(1, &[(b"a", b"x"), (b"b\xff", b"")]),
        call(false, wire::CALL, "getName", 2, &[]),
        log(3, &[]),
        call(true, wire::CALL, "getOption", 4, &text_argument("max_frame")),
        log(5, &[(b"a", b"\n\0")]),
    ]
    .concat();
    let whole = converse(&[&calls]);
    assert_eq!(whole.0.len(), 3);
    every_split(&calls, |pieces| assert_eq!(converse(pieces), whole));
}

#[test]
fn no_bytes_make_the_source_panic() {
    let corpus = [
        log(1, &[(b"a", b"x"), (b"b\xff", b"")]),
        call(false, wire::CALL, "getCounters", 2, &[]),
        call(true, wire::CALL, "getCounter", 4, &text_argument("records_in")),
        call(true, wire::ONEWAY, "shutdown", 4, b"\x0d\0\x02\x0b\x0a\0\0\0\x01\0\0\0\x01k12345678"),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    fuzz(&corpus, |bytes| {
        converse(&[bytes]);
    });
}
