//! The collector's end of the wire as a state machine: messages and time in, effects out. No I/O happens here.
//!
//! Owns who is let in, and the order of a stream's blocks on one connection.

use std::collections::HashMap;
use std::time::Duration;

use logboom_config::Secret;
use logboom_wire::message::{PROTOCOL_VERSION, Refusal, ToCollector};
use logboom_wire::{Block, StreamId};
use tokio::time::Instant;

/// A peer that has said nothing for this long is dead; nor may a hello take longer.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// After this long without saying anything, a sign of life is sent.
const PING_AFTER: Duration = Duration::from_secs(3);
/// Streams that one connection may open.
const STREAMS_MAX: usize = 10_000;

/// What the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// The peer is let in; its host name as it gave it.
    Welcome(String),
    /// Look up the mark of a stream, then call [`Protocol::opened`] and tell the peer.
    LookUp(StreamId),
    /// Take in a block; it comes after block `base` of its stream.
    Accept {
        /// The block.
        block: Block,
        /// The block before it.
        base: u64,
    },
    /// The peer asks for an early commit.
    Flush,
    /// Send a sign of life.
    Ping,
    /// Tell the peer why, and end.
    Refuse(Refusal, String),
    /// End without a word.
    Hang,
}

/// One connection.
pub struct Protocol {
    token: Option<Secret>,
    greeted: bool,
    /// Last number of each stream: the mark at opening, then what came. `None` while the mark is being looked up.
    streams: HashMap<StreamId, Option<u64>>,
    heard: Instant,
    said: Instant,
}

impl Protocol {
    /// A new connection. `token`: what the peer has to prove itself with.
    pub fn new(now: Instant, token: Option<Secret>) -> Self {
        Self { token, greeted: false, streams: HashMap::new(), heard: now, said: now }
    }

    /// A message came.
    pub fn heard(&mut self, now: Instant, message: ToCollector) -> Option<Effect> {
        self.heard = now;
        let refuse = |code, message: &str| Some(Effect::Refuse(code, message.to_owned()));
        match message {
            ToCollector::Hello { .. } if self.greeted => refuse(Refusal::Protocol, "a second hello"),
            ToCollector::Hello { version, .. } if version != PROTOCOL_VERSION => {
                let message = format!("this collector speaks version {PROTOCOL_VERSION}, the adaptor {version}");
                Some(Effect::Refuse(Refusal::Version, message))
            }
            ToCollector::Hello { token, host, .. } => {
                let wanted = self.token.as_ref().map_or("", |token| token.expose());
                // An open collector takes any token: an adaptor may well have one for another.
                if self.token.is_some() && !constant_time_eq::constant_time_eq(wanted.as_bytes(), token.as_bytes()) {
                    return refuse(Refusal::Token, "the token is wrong; check `adaptor.token_file`");
                }
                self.greeted = true;
                let host = host.chars().filter(|c| !c.is_control()).take(255).collect();
                Some(Effect::Welcome(host))
            }
            _ if !self.greeted => refuse(Refusal::Protocol, "a message before hello"),
            ToCollector::Open { stream, .. } => {
                if self.streams.len() >= STREAMS_MAX {
                    return refuse(Refusal::Protocol, "too many streams on one connection");
                }
                match self.streams.insert(stream, None) {
                    None => Some(Effect::LookUp(stream)),
                    Some(_) => refuse(Refusal::Protocol, "a stream that was opened twice"),
                }
            }
            ToCollector::Flush => Some(Effect::Flush),
            ToCollector::Ping => None,
        }
    }

    /// A block came.
    pub fn heard_block(&mut self, now: Instant, block: Block) -> Effect {
        self.heard = now;
        let header = block.header();
        match self.streams.get_mut(&header.stream) {
            Some(Some(last)) if header.number > *last => {
                let base = std::mem::replace(last, header.number);
                Effect::Accept { block, base }
            }
            Some(Some(_)) => Effect::Refuse(Refusal::Protocol, "a block that is not after the one before it".into()),
            _ => Effect::Refuse(Refusal::Protocol, "a block of a stream that is not open".into()),
        }
    }

    /// The mark of `stream` was looked up and is about to be told.
    pub fn opened(&mut self, now: Instant, stream: StreamId, mark: u64) {
        self.said = now;
        self.streams.insert(stream, Some(mark));
    }

    /// Something else was said.
    pub fn said(&mut self, now: Instant) {
        self.said = now;
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Option<Effect> {
        if now.duration_since(self.heard) >= SILENCE_MAX {
            return Some(Effect::Hang);
        }
        if self.greeted && now.duration_since(self.said) >= PING_AFTER {
            self.said = now;
            return Some(Effect::Ping);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(token: &str) -> ToCollector {
        ToCollector::Hello {
            version: PROTOCOL_VERSION,
            token: token.into(),
            host: "a\u{1b}b".into(),
            agent: "x".into(),
        }
    }

    #[test]
    fn nobody_gets_in_without_the_token() {
        let now = Instant::now();
        for (wanted, given, welcome) in
            [(Some("t"), "t", true), (Some("t"), "", false), (Some("t"), "tt", false), (None, "any", true)]
        {
            let mut protocol = Protocol::new(now, wanted.map(Secret::new));
            let effect = protocol.heard(now, hello(given)).unwrap();
            match effect {
                Effect::Welcome(host) => assert!(welcome && host == "ab", "{wanted:?} {given}"),
                Effect::Refuse(Refusal::Token, _) => assert!(!welcome, "{wanted:?} {given}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn nothing_is_taken_before_hello() {
        let now = Instant::now();
        let open = ToCollector::Open { stream: StreamId::random(), first: 1 };
        for message in [open, ToCollector::Flush, ToCollector::Ping] {
            let effect = Protocol::new(now, None).heard(now, message);
            assert!(matches!(effect, Some(Effect::Refuse(Refusal::Protocol, _))));
        }
    }

    #[test]
    fn a_peer_that_never_says_hello_is_hung_up_on() {
        let now = Instant::now();
        let mut protocol = Protocol::new(now, None);
        assert!(protocol.tick(now + SILENCE_MAX / 2).is_none());
        assert!(matches!(protocol.tick(now + SILENCE_MAX), Some(Effect::Hang)));
    }
}
