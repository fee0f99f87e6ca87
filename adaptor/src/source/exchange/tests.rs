//! Connections of a protocol that is as simple as can be: each byte but a few is a record, answered with itself.

use std::sync::Arc;
use std::time::Duration;

use logboom_config::{Source, SourceKind};
use logboom_security::Stream;
use logboom_wire::Record;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::source::Inlet;
use crate::source::net::Connection;
use crate::source::testing::{A_WHILE, PATIENCE, Rig};

/// Begins a message that goes on to [`END`].
const HALF: u8 = b'<';
const END: u8 = b'>';
/// Is a violation, and answered.
const WRONG: u8 = b'!';
/// Takes memory.
const LARGE: u8 = b'#';
/// Makes a peer admitted.
const ADMIT: u8 = b'*';
/// Is answered with very much.
const TALK: u8 = b'?';
/// Cannot be refused once it was taken.
const FIRM: u8 = b'=';

struct Bytes {
    inlet: Arc<Inlet>,
    admitted: bool,
    has_room: bool,
}

impl Protocol for Bytes {
    fn greeting(&mut self) -> Vec<u8> {
        if self.admitted { Vec::new() } else { b"hello".to_vec() }
    }

    fn is_admitted(&self) -> bool {
        self.admitted
    }

    fn read(&mut self, input: &[u8], round: &mut Round) -> Result<Step, Violation> {
        let (byte, length) = match input {
            [] => return Ok(Step::Wait),
            [HALF, rest @ ..] => match rest.iter().position(|byte| *byte == END) {
                Some(at) => (END, at + 2),
                None => return Ok(Step::Wait),
            },
            [byte, ..] => (*byte, 1),
        };
        match byte {
            WRONG => {
                round.answers.push(WRONG);
                return Err(Violation::new("wrong"));
            }
            LARGE if !std::mem::replace(&mut self.has_room, true) => return Ok(Step::Room(1000)),
            ADMIT => self.admitted = true,
            TALK => round.answers.extend([TALK; 10_000]),
            _ if round.batch.records() >= 3 => return Ok(Step::HandOver),
            _ => {
                let record = Record { body: &[byte], ..Record::default() };
                self.inlet.funnel().record(None, &record, round.batch.chunk(1));
            }
        }
        round.answers.push(byte);
        Ok(Step::Done(length))
    }

    fn refusal(&self, answers: &[u8]) -> Option<Vec<u8>> {
        (!answers.contains(&FIRM)).then(|| vec![b'-'; answers.len()])
    }

    fn settle(&mut self, taken: bool, answers: &mut Vec<u8>) -> bool {
        if !taken {
            answers.fill(b'-');
        }
        true
    }
}

fn shared() -> Shared {
    let mut shared = Shared::new(1 << 20);
    shared.message_timeout = Duration::from_millis(300);
    shared.admission_timeout = Duration::from_millis(300);
    shared
}

fn connected(rig: &Rig, admitted: bool) -> (UnixStream, JoinHandle<()>) {
    let (client, server) = UnixStream::pair().unwrap();
    let inlet = Inlet::new(Source::new("in", SourceKind::Stdin), rig.context.clone());
    let protocol = Bytes { inlet: inlet.clone(), admitted, has_room: false };
    let connection = Connection {
        stream: Stream::Unix(server),
        peer: None,
        credentials: None,
        idle: Duration::ZERO,
        stop: rig.stop.clone(),
    };
    (client, tokio::spawn(serve(inlet, shared(), protocol, connection)))
}

async fn all(client: &mut UnixStream) -> String {
    let mut all = String::new();
    timeout(PATIENCE, client.read_to_string(&mut all)).await.unwrap().unwrap();
    all
}

async fn some(client: &mut UnixStream, count: usize) -> String {
    let mut some = vec![0; count];
    timeout(PATIENCE, client.read_exact(&mut some)).await.unwrap().unwrap();
    String::from_utf8(some).unwrap()
}

#[tokio::test]
async fn a_round_in_parts_is_answered_at_its_end_when_all_of_it_is_durable() {
    let rig = Rig::new();
    let (mut client, serving) = connected(&rig, true);
    rig.hold(true);
    client.write_all(b"abcdefg#h").await.unwrap();
    assert!(timeout(A_WHILE, client.read_u8()).await.is_err());
    rig.hold(false);
    assert_eq!(some(&mut client, 9).await, "abcdefg#h");
    assert_eq!(rig.bodies(9).await.concat(), "abcdefg#h");
    rig.stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_round_is_refused_as_a_whole() {
    let rig = Rig::new();
    let (mut client, _serving) = connected(&rig, true);
    rig.context.intake.refuse_all(true);
    client.write_all(b"abcdefgh").await.unwrap();
    assert_eq!(some(&mut client, 8).await, "--------");
    rig.context.intake.refuse_all(false);
    client.write_all(b"i").await.unwrap();
    assert_eq!(some(&mut client, 1).await, "i");
    assert_eq!(rig.bodies(1).await, ["i"]);
    assert_eq!(rig.context.counters.records_refused_full.get(), 8);
}

/// Has the writer take `first` and be held there, while what is `behind` it waits in the intake.
async fn send_two(rig: &Rig, client: &mut UnixStream, first: u8, behind: u8) {
    rig.hold(true);
    for byte in [first, behind] {
        client.write_all(&[byte]).await.unwrap();
        assert!(timeout(A_WHILE, client.read_u8()).await.is_err());
    }
}

#[tokio::test]
async fn a_round_that_is_refused_after_it_was_taken_says_so_or_else_the_connection_ends() {
    let rig = Rig::new();
    let (mut client, _serving) = connected(&rig, true);
    send_two(&rig, &mut client, b'a', b'b').await;
    rig.context.intake.refuse_pending(|records| assert_eq!(records, 1));
    rig.hold(false);
    assert_eq!(some(&mut client, 2).await, "a-");
    send_two(&rig, &mut client, b'c', FIRM).await;
    rig.context.intake.refuse_pending(|records| assert_eq!(records, 1));
    rig.hold(false);
    // The answer before it may be left out with it.
    assert!("c".starts_with(&all(&mut client).await));
    assert_eq!(rig.bodies(2).await, ["a", "c"]);
}

#[tokio::test]
async fn where_the_outcome_of_a_round_is_unknown_nothing_is_said_and_the_connection_ends() {
    let rig = Rig::new();
    let (mut client, _serving) = connected(&rig, true);
    send_two(&rig, &mut client, b'a', b'b').await;
    rig.context.intake.end();
    rig.hold(false);
    assert!("a".starts_with(&all(&mut client).await));
}

#[tokio::test]
async fn what_came_before_a_violation_is_taken_and_answered_though_more_is_sent_after_it() {
    let rig = Rig::new();
    let (mut client, serving) = connected(&rig, true);
    client.write_all(&[&b"ab!"[..], &[b'x'; 100_000]].concat()).await.unwrap();
    sleep(A_WHILE).await;
    assert_eq!(all(&mut client).await, "ab!");
    drop(client);
    serving.await.unwrap();
    assert_eq!(rig.bodies(2).await, ["a", "b"]);
    assert_eq!(rig.context.counters.messages_refused.get(), 1);
}

#[tokio::test]
async fn a_message_that_does_not_come_to_its_end_is_too_late_and_a_quiet_connection_is_not() {
    let rig = Rig::new();
    let (mut client, _serving) = connected(&rig, true);
    client.write_all(b"a").await.unwrap();
    sleep(Duration::from_millis(500)).await;
    client.write_all(b"b<").await.unwrap();
    assert_eq!(all(&mut client).await, "ab");
    assert_eq!(rig.context.counters.messages_refused.get(), 1);
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_keep_a_message_in_time_but_much_of_it_does() {
    let rig = Rig::new();
    for (piece, in_time) in [(1, false), (80_000, true)] {
        let (mut client, _serving) = connected(&rig, true);
        client.write_all(&[HALF]).await.unwrap();
        for _ in 0..12 {
            let _ = client.write_all(&vec![b'x'; piece]).await;
            sleep(Duration::from_millis(50)).await;
        }
        let _ = client.write_all(&[END]).await;
        match in_time {
            true => assert_eq!(some(&mut client, 1).await, ">"),
            false => assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0),
        }
    }
    assert_eq!(rig.context.counters.messages_refused.get(), 1);
}

#[tokio::test]
async fn a_peer_that_is_not_admitted_in_time_is_disconnected_whatever_it_sends() {
    let rig = Rig::new();
    let (mut late, _late) = connected(&rig, false);
    let (mut early, _early) = connected(&rig, false);
    early.write_all(b"*").await.unwrap();
    let sending = async {
        while late.write_all(b"?").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, sending).await.unwrap();
    assert_eq!(rig.context.counters.handshakes_failed.get(), 1);
    early.write_all(b"a").await.unwrap();
    assert_eq!(some(&mut early, 7).await, "hello*a");
}

#[tokio::test]
async fn much_to_answer_comes_in_order_and_a_peer_that_does_not_read_it_is_not_read_from() {
    let rig = Rig::new();
    let (mut client, _serving) = connected(&rig, true);
    let sent = timeout(A_WHILE * 4, client.write_all(&[TALK; 4 << 20])).await;
    assert!(sent.is_err(), "there is an end to what is held for it");
    let answers = some(&mut client, 1 << 20).await;
    assert!(answers.bytes().all(|byte| byte == TALK));
}

#[tokio::test]
async fn large_messages_wait_for_each_other_when_memory_is_short() {
    let shared = Shared::new(1 << 20);
    let first = shared.for_made(1 << 20).await.unwrap();
    let _second = shared.for_made(1 << 20).await.unwrap();
    assert!(timeout(A_WHILE, shared.for_made(1)).await.is_err());
    drop(first);
    assert!(timeout(PATIENCE, shared.for_made(1 << 20)).await.unwrap().is_some());
    assert!(timeout(A_WHILE, shared.for_coming(64 << 20)).await.unwrap().is_some(), "apart from what is coming");
}
