//! The adaptor's end of the wire as a state machine: messages and time in, effects out. No I/O happens here.
//!
//! Owns what may be said when: hello first, a stream's blocks only after the collector told its mark, no more bytes than
//! were granted, and how long a silence means death.

use std::collections::BTreeMap;
use std::time::Duration;

use logboom_config::planted;
use logboom_wire::StreamId;
use logboom_wire::message::{PROTOCOL_VERSION, Refusal, STREAMS_MAX, ToAdaptor, ToCollector};
use tokio::time::Instant;

/// A peer that has said nothing for this long is dead. It is looked for twice a second, and found within 10 s.
pub const SILENCE_MAX: Duration = Duration::from_secs(9);
/// So long may the answer to a hello take: nothing has to be looked up for it.
const WELCOME_MAX: Duration = Duration::from_secs(5);
/// After this long without saying anything, a sign of life is sent.
const PING_AFTER: Duration = Duration::from_secs(3);

/// What the shell is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a message.
    Send(ToCollector),
    /// The collector has committed a stream up to a mark.
    Trim(StreamId, u64),
    /// The collector does not take a stream, for this reason; what of it was sent since is not taken.
    Refused(StreamId, String),
    /// The connection is up: the collector has said welcome.
    Welcomed,
    /// End the connection.
    Close(Ended),
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The collector is leaving.
    #[error("the collector is leaving")]
    Draining,
    /// The collector refused.
    #[error("the collector refused ({code:?}): {message}")]
    Refused {
        /// Why.
        code: Refusal,
        /// In words.
        message: String,
        /// Not before.
        retry_after: Duration,
    },
    /// Nothing came for [`SILENCE_MAX`].
    #[error("the collector has been silent for {} s", SILENCE_MAX.as_secs())]
    Silent,
    /// No welcome came for [`WELCOME_MAX`].
    #[error("the collector has not said welcome within {} s", WELCOME_MAX.as_secs())]
    Unwelcome,
    /// The collector said something that makes no sense.
    #[error("the collector broke the protocol: {0}")]
    Protocol(String),
}

struct Opened {
    /// Number of the last block sent, or the mark at opening; `None` until the collector has told it.
    sent: Option<u64>,
}

/// One connection.
pub struct Protocol {
    welcomed: bool,
    credit: i64,
    heard: Instant,
    said: Instant,
    streams: BTreeMap<StreamId, Opened>,
}

impl Protocol {
    /// A new connection, and the first thing to say.
    pub fn new(now: Instant, token: &str, host: &str) -> (Self, ToCollector) {
        let hello = ToCollector::Hello {
            version: PROTOCOL_VERSION,
            token: token.to_owned(),
            host: host.to_owned(),
            agent: concat!("logboom/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        (Self { welcomed: false, credit: 0, heard: now, said: now, streams: BTreeMap::new() }, hello)
    }

    /// Whether `stream` has been announced on this connection.
    pub fn knows(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Whether this connection has carried as many streams as it may: no further one can be announced.
    pub fn is_used_up(&self) -> bool {
        self.streams.len() >= STREAMS_MAX
    }

    /// Announces a stream, once welcomed.
    pub fn open(&mut self, now: Instant, stream: StreamId, first: u64) -> Option<ToCollector> {
        if !self.welcomed || self.knows(stream) || self.is_used_up() {
            return None;
        }
        self.streams.insert(stream, Opened { sent: None });
        self.said = now;
        Some(ToCollector::Open { stream, first })
    }

    /// After which block of `stream` to go on; `None` while nothing may be sent of it.
    pub fn next_after(&self, stream: StreamId) -> Option<u64> {
        if self.credit <= 0 {
            return None;
        }
        self.sent_up_to(stream)
    }

    /// Number of the last block of `stream` that was sent or is committed, whatever the credit.
    pub fn sent_up_to(&self, stream: StreamId) -> Option<u64> {
        self.streams.get(&stream)?.sent
    }

    /// How many bytes may be sent now. The last block may go beyond it.
    pub fn credit(&self) -> usize {
        usize::try_from(self.credit).unwrap_or(0)
    }

    /// Notes that a block was sent.
    pub fn sent(&mut self, now: Instant, stream: StreamId, number: u64, bytes: usize) {
        let opened = self.streams.get_mut(&stream).expect("only opened streams are sent");
        assert!(opened.sent.is_some_and(|sent| number > sent), "blocks are sent in rising order");
        opened.sent = Some(number);
        self.credit -= bytes as i64;
        self.said = now;
    }

    /// A message came.
    pub fn heard(&mut self, now: Instant, message: ToAdaptor) -> Vec<Effect> {
        self.heard = now;
        if !self.welcomed && !matches!(message, ToAdaptor::Welcome { .. } | ToAdaptor::Refused { .. }) {
            return vec![Effect::Close(Ended::Protocol("it spoke before its welcome".into()))];
        }
        match message {
            ToAdaptor::Welcome { version: PROTOCOL_VERSION, .. } => {
                self.welcomed = true;
                vec![Effect::Welcomed]
            }
            ToAdaptor::Welcome { version, .. } => {
                let reason = format!("it speaks version {version}, this adaptor {PROTOCOL_VERSION}");
                vec![Effect::Close(Ended::Protocol(reason))]
            }
            ToAdaptor::Opened { stream, mark } => match self.streams.get_mut(&stream) {
                Some(opened @ Opened { sent: None }) => {
                    opened.sent = Some(if planted::bug("skip_first_block") { mark + 1 } else { mark });
                    vec![Effect::Trim(stream, mark)]
                }
                _ => vec![Effect::Close(Ended::Protocol(format!("it opened stream {stream} unasked")))],
            },
            ToAdaptor::Credit { bytes } => {
                self.credit = self.credit.saturating_add(bytes.min(1 << 40) as i64);
                vec![]
            }
            ToAdaptor::Committed { stream, mark } => match self.streams.get_mut(&stream) {
                Some(Opened { sent: Some(sent) }) => {
                    // Another collector may have committed blocks that an earlier connection sent.
                    *sent = mark.max(*sent);
                    vec![Effect::Trim(stream, mark)]
                }
                _ => vec![],
            },
            ToAdaptor::Refused { code, message, retry_after_ms } => {
                let message = harmless(&message);
                let retry_after = Duration::from_millis(retry_after_ms.min(60_000));
                vec![Effect::Close(Ended::Refused { code, message, retry_after })]
            }
            ToAdaptor::StreamRefused { stream, message, .. } => match self.streams.remove(&stream) {
                Some(_) => vec![Effect::Refused(stream, harmless(&message))],
                None => vec![],
            },
            ToAdaptor::Draining => vec![Effect::Close(Ended::Draining)],
            ToAdaptor::Ping => vec![],
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Option<Effect> {
        if !self.welcomed && now.duration_since(self.said) >= WELCOME_MAX {
            return Some(Effect::Close(Ended::Unwelcome));
        }
        if now.duration_since(self.heard) >= SILENCE_MAX {
            return Some(Effect::Close(Ended::Silent));
        }
        if self.welcomed && now.duration_since(self.said) >= PING_AFTER {
            self.said = now;
            return Some(Effect::Send(ToCollector::Ping));
        }
        None
    }
}

/// What a collector says, as it may stand in a log.
fn harmless(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcomed(now: Instant) -> Protocol {
        let (mut protocol, _) = Protocol::new(now, "", "host");
        let welcome = ToAdaptor::Welcome { version: PROTOCOL_VERSION, server_time_ms: 0 };
        assert_eq!(protocol.heard(now, welcome), [Effect::Welcomed]);
        protocol
    }

    #[test]
    fn blocks_wait_for_the_mark_and_for_credit() {
        let now = Instant::now();
        let mut protocol = welcomed(now);
        let stream = StreamId::random();
        assert!(protocol.open(now, stream, 3).is_some());
        protocol.heard(now, ToAdaptor::Credit { bytes: 100 });
        assert_eq!(protocol.next_after(stream), None);
        assert_eq!(protocol.heard(now, ToAdaptor::Opened { stream, mark: 5 }), [Effect::Trim(stream, 5)]);
        assert_eq!(protocol.next_after(stream), Some(5));
        protocol.sent(now, stream, 6, 150);
        assert_eq!(protocol.next_after(stream), None, "the credit is used up");
        protocol.heard(now, ToAdaptor::Credit { bytes: 51 });
        assert_eq!(protocol.next_after(stream), Some(6));
    }

    #[test]
    fn a_silent_collector_is_left_within_ten_seconds() {
        let start = Instant::now();
        let mut protocol = welcomed(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(protocol.tick(at(3)), Some(Effect::Send(ToCollector::Ping)));
        assert_eq!(protocol.tick(at(5)), None);
        protocol.heard(at(8), ToAdaptor::Ping);
        assert_ne!(protocol.tick(at(16)), Some(Effect::Close(Ended::Silent)));
        // The half second until the next look is part of it.
        assert_eq!(protocol.tick(at(17)), Some(Effect::Close(Ended::Silent)));
    }

    #[test]
    fn a_connection_carries_so_many_streams_and_no_more() {
        let now = Instant::now();
        let mut protocol = welcomed(now);
        for number in 0..STREAMS_MAX as u128 {
            assert!(!protocol.is_used_up());
            let stream = StreamId::from_bytes(number.to_be_bytes());
            assert!(protocol.open(now, stream, 1).is_some());
        }
        assert!(protocol.is_used_up());
        assert_eq!(protocol.open(now, StreamId::random(), 1), None);
    }

    #[test]
    fn a_stream_opened_unasked_ends_the_connection() {
        let now = Instant::now();
        let effects = welcomed(now).heard(now, ToAdaptor::Opened { stream: StreamId::random(), mark: 9 });
        assert!(matches!(effects[..], [Effect::Close(Ended::Protocol(_))]));
    }

    #[test]
    fn a_mark_moved_by_others_is_taken_over_and_never_goes_back() {
        let now = Instant::now();
        let mut protocol = welcomed(now);
        let stream = StreamId::random();
        protocol.open(now, stream, 1);
        protocol.heard(now, ToAdaptor::Credit { bytes: 1000 });
        // Before the stream is opened here, its marks are nobody's business.
        assert_eq!(protocol.heard(now, ToAdaptor::Committed { stream, mark: 9 }), []);
        assert_eq!(protocol.next_after(stream), None);
        protocol.heard(now, ToAdaptor::Opened { stream, mark: 2 });
        protocol.sent(now, stream, 3, 10);
        // An earlier connection had sent up to 7.
        assert_eq!(protocol.heard(now, ToAdaptor::Committed { stream, mark: 7 }), [Effect::Trim(stream, 7)]);
        assert_eq!(protocol.next_after(stream), Some(7));
        assert_eq!(protocol.heard(now, ToAdaptor::Committed { stream, mark: 4 }), [Effect::Trim(stream, 4)]);
        assert_eq!(protocol.next_after(stream), Some(7));
        let other = StreamId::random();
        assert_eq!(protocol.heard(now, ToAdaptor::Committed { stream: other, mark: 4 }), []);
    }

    #[test]
    fn a_stream_is_announced_once_and_only_after_the_welcome() {
        let now = Instant::now();
        let stream = StreamId::random();
        let (mut protocol, hello) = Protocol::new(now, "secret", "host");
        assert!(matches!(hello, ToCollector::Hello { token, .. } if token == "secret"));
        assert_eq!(protocol.open(now, stream, 1), None);
        let mut protocol = welcomed(now);
        assert_eq!(protocol.open(now, stream, 3), Some(ToCollector::Open { stream, first: 3 }));
        assert_eq!(protocol.open(now, stream, 3), None);
        assert_eq!(protocol.heard(now, ToAdaptor::Opened { stream, mark: 1 }), [Effect::Trim(stream, 1)]);
        let again = protocol.heard(now, ToAdaptor::Opened { stream, mark: 1 });
        assert!(matches!(again[..], [Effect::Close(Ended::Protocol(_))]));
    }

    #[test]
    fn whoever_speaks_before_the_welcome_or_another_version_is_left() {
        let now = Instant::now();
        for message in [ToAdaptor::Ping, ToAdaptor::Credit { bytes: 1 }, ToAdaptor::Draining] {
            let (mut protocol, _) = Protocol::new(now, "", "host");
            assert!(matches!(protocol.heard(now, message)[..], [Effect::Close(Ended::Protocol(_))]));
        }
        let (mut protocol, _) = Protocol::new(now, "", "host");
        let other = ToAdaptor::Welcome { version: PROTOCOL_VERSION + 1, server_time_ms: 0 };
        assert!(matches!(protocol.heard(now, other)[..], [Effect::Close(Ended::Protocol(_))]));
        assert_eq!(protocol.tick(now + PING_AFTER), None, "nothing is said before the welcome");
        assert_eq!(protocol.tick(now + WELCOME_MAX), Some(Effect::Close(Ended::Unwelcome)));
    }

    #[test]
    fn a_refusal_is_shown_without_control_characters_and_waited_for_a_minute_at_most() {
        let (mut protocol, _) = Protocol::new(Instant::now(), "", "host");
        let message = format!("no\n\x1b[31m{}", "x".repeat(1000));
        let refused = ToAdaptor::Refused { code: Refusal::Busy, message, retry_after_ms: u64::MAX };
        match &protocol.heard(Instant::now(), refused)[..] {
            [Effect::Close(Ended::Refused { code: Refusal::Busy, message, retry_after })] => {
                assert!(message.starts_with("no[31mx") && message.len() == 500);
                assert_eq!(*retry_after, Duration::from_secs(60));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refused_stream_is_opened_anew_and_the_others_go_on() {
        let now = Instant::now();
        let mut protocol = welcomed(now);
        let (bad, good) = (StreamId::random(), StreamId::random());
        protocol.heard(now, ToAdaptor::Credit { bytes: 1000 });
        for stream in [bad, good] {
            protocol.open(now, stream, 1);
            protocol.heard(now, ToAdaptor::Opened { stream, mark: 0 });
            protocol.sent(now, stream, 1, 10);
        }
        let refused = || ToAdaptor::StreamRefused { stream: bad, block: 1, message: "not\nthis".into() };
        assert_eq!(protocol.heard(now, refused()), [Effect::Refused(bad, "notthis".into())]);
        assert_eq!(protocol.heard(now, refused()), []);
        assert_eq!((protocol.next_after(bad), protocol.next_after(good)), (None, Some(1)));
        assert!(protocol.open(now, bad, 1).is_some());
        assert_eq!(protocol.heard(now, ToAdaptor::Opened { stream: bad, mark: 0 }), [Effect::Trim(bad, 0)]);
        assert_eq!(protocol.next_after(bad), Some(0), "what was not taken is sent again");
    }

    #[test]
    fn credit_adds_up_without_overflow() {
        let now = Instant::now();
        let mut protocol = welcomed(now);
        for _ in 0..100 {
            protocol.heard(now, ToAdaptor::Credit { bytes: u64::MAX });
        }
        assert!(protocol.credit() > 1 << 40);
        assert_eq!(protocol.heard(now, ToAdaptor::Draining), [Effect::Close(Ended::Draining)]);
    }
}
