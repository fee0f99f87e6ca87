//! The collector's end of the wire as a state machine: messages and time in, effects out. No I/O happens here.
//!
//! Owns the order of what is said: hello first, then streams, and of each the blocks in order. Who is let in and what may
//! be written is asked of [`Access`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use logboom_security::Certificate;
use logboom_wire::message::{PROTOCOL_VERSION, Refusal, STREAMS_MAX, ToCollector};
use logboom_wire::{Block, StreamId};
use tokio::time::Instant;

use crate::door::{Access, Credentials, Forbidden, Grant};

/// A peer that has said nothing for this long is dead; nor may a hello take longer. It is looked for every second, and found
/// within 10 s.
pub const SILENCE_MAX: Duration = Duration::from_secs(9);
/// After this long without saying anything, a sign of life is sent.
const PING_AFTER: Duration = Duration::from_secs(3);

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
    /// Tell that a stream is not taken from a block on, and why. The block's bytes are credit again.
    RefuseStream {
        /// The stream.
        stream: StreamId,
        /// Number of the block.
        block: u64,
        /// Its bytes.
        bytes: u64,
        /// Why.
        why: Forbidden,
    },
    /// A block is passed over, for its stream was refused: its bytes are credit again.
    PassOver(u64),
    /// The peer asks for an early commit.
    Flush,
    /// Send a sign of life.
    Ping,
    /// Tell the peer why, and end.
    Refuse(Refusal, String),
    /// End without a word.
    Hang,
}

/// How a stream stands on a connection.
enum Opened {
    /// Its mark is being looked up.
    LookingUp,
    /// The last number: the mark at opening, then what came.
    At(u64),
    /// It holds what the peer may not write. It may be opened again.
    Refused,
}

/// Who a peer may be.
pub struct Visitor {
    /// Who there is.
    pub access: Arc<Access>,
    /// What the peer has shown before its first word.
    pub certificate: Option<Certificate>,
}

/// One connection.
pub struct Protocol {
    visitor: Option<Visitor>,
    /// Once it has said hello.
    credentials: Option<Credentials>,
    grant: Grant,
    streams: HashMap<StreamId, Opened>,
    heard: Instant,
    said: Instant,
}

impl Protocol {
    /// A new connection. Without a visitor nobody is asked who it is.
    pub fn new(now: Instant, visitor: Option<Visitor>) -> Self {
        let (credentials, grant, streams) = (None, Grant::default(), HashMap::new());
        Self { visitor, credentials, grant, streams, heard: now, said: now }
    }

    fn greeted(&self) -> bool {
        self.credentials.is_some()
    }

    /// What the peer may do, and the certificate that it has shown.
    pub fn peer(&self) -> (&Grant, Option<&Certificate>) {
        (&self.grant, self.credentials.as_ref().and_then(|credentials| credentials.certificate.as_ref()))
    }

    /// Those whom there are have changed: from now on the peer may do what they say, if it is still one of them.
    pub fn access_changed(&mut self, access: &Access) -> Option<Effect> {
        match access.identify(self.credentials.as_ref()?) {
            Ok(grant) => {
                self.grant = grant;
                None
            }
            Err(reason) => Some(Effect::Refuse(Refusal::Token, format!("{reason} any more"))),
        }
    }

    /// A message came.
    pub fn heard(&mut self, now: Instant, message: ToCollector) -> Option<Effect> {
        self.heard = now;
        let refuse = |code, message: &str| Some(Effect::Refuse(code, message.to_owned()));
        match message {
            ToCollector::Hello { .. } if self.greeted() => refuse(Refusal::Protocol, "a second hello"),
            ToCollector::Hello { version, .. } if version != PROTOCOL_VERSION => {
                let message = format!("this collector speaks version {PROTOCOL_VERSION}, the adaptor {version}");
                Some(Effect::Refuse(Refusal::Version, message))
            }
            ToCollector::Hello { token, host, .. } => {
                let (access, certificate) = match self.visitor.take() {
                    Some(visitor) => (visitor.access, visitor.certificate),
                    None => Default::default(),
                };
                let credentials = Credentials::new(&token, certificate);
                match access.identify(&credentials) {
                    Ok(grant) => self.grant = grant,
                    Err(reason) => {
                        let message = format!("{reason}; check `token_file` and `tls_cert_file` of [adaptor]");
                        return Some(Effect::Refuse(Refusal::Token, message));
                    }
                }
                self.credentials = Some(credentials);
                let host = host.chars().filter(|c| !c.is_control()).take(255).collect();
                Some(Effect::Welcome(host))
            }
            _ if !self.greeted() => refuse(Refusal::Protocol, "a message before hello"),
            ToCollector::Open { stream, .. } => {
                if self.streams.len() >= STREAMS_MAX {
                    return refuse(Refusal::Protocol, "too many streams on one connection");
                }
                match self.streams.insert(stream, Opened::LookingUp) {
                    None | Some(Opened::Refused) => Some(Effect::LookUp(stream)),
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
        let Some(opened) = self.streams.get_mut(&header.stream) else {
            return Effect::Refuse(Refusal::Protocol, "a block of a stream that is not open".into());
        };
        match opened {
            Opened::At(last) if header.number > *last => match self.grant.check(header) {
                Ok(()) => {
                    let base = std::mem::replace(last, header.number);
                    Effect::Accept { block, base }
                }
                Err(why) => {
                    *opened = Opened::Refused;
                    let (stream, bytes) = (header.stream, block.bytes().len() as u64);
                    Effect::RefuseStream { stream, block: header.number, bytes, why }
                }
            },
            // It was on its way.
            Opened::Refused => Effect::PassOver(block.bytes().len() as u64),
            Opened::At(_) => Effect::Refuse(Refusal::Protocol, "a block that is not after the one before it".into()),
            Opened::LookingUp => Effect::Refuse(Refusal::Protocol, "a block of a stream that is not open".into()),
        }
    }

    /// The mark of `stream` was looked up and is about to be told.
    pub fn opened(&mut self, now: Instant, stream: StreamId, mark: u64) {
        self.said = now;
        self.streams.insert(stream, Opened::At(mark));
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
        if self.greeted() && now.duration_since(self.said) >= PING_AFTER {
            self.said = now;
            return Some(Effect::Ping);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use logboom_config::{Client, Globs, TokenHash, Tokens};

    use super::*;
    use crate::tail::tests::block;

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
            let access = Arc::new(Access::new(wanted.map(Tokens::of), vec![]));
            let mut protocol = Protocol::new(now, Some(Visitor { access, certificate: None }));
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

    /// A peer that may write categories `nginx.*` with the token `t`.
    fn granted(categories: &str) -> Access {
        let client = Client {
            name: "web".into(),
            token_hashes: vec![TokenHash::of("t")],
            cert_names: None,
            categories: Some(Globs::new([categories]).unwrap()),
            hosts: None,
            tail: false,
        };
        Access::new(None, vec![client])
    }

    #[test]
    fn a_stream_with_what_may_not_be_written_is_refused_until_it_is_opened_again_and_no_other_is() {
        let now = Instant::now();
        let visitor = Visitor { access: Arc::new(granted("nginx.*")), certificate: None };
        let mut protocol = Protocol::new(now, Some(visitor));
        assert!(matches!(protocol.heard(now, hello("t")), Some(Effect::Welcome(_))));
        let (stream, other) = (block(1, &["x"], 0).header().stream, StreamId::random());
        for stream in [stream, other] {
            assert!(matches!(protocol.heard(now, ToCollector::Open { stream, first: 1 }), Some(Effect::LookUp(_))));
            protocol.opened(now, stream, 0);
        }
        assert!(matches!(protocol.heard_block(now, block(1, &["nginx.a"], 0)), Effect::Accept { base: 0, .. }));
        let bad = block(2, &["nginx.a", "billing"], 0);
        let bytes = bad.bytes().len() as u64;
        match protocol.heard_block(now, bad) {
            Effect::RefuseStream { stream: refused, block: 2, bytes: returned, why } => {
                assert_eq!((refused, returned), (stream, bytes));
                assert!(why.message.contains("`billing`"), "{why:?}");
            }
            other => panic!("{other:?}"),
        }
        // What was on its way is not taken, allowed or not, for it would be out of order.
        assert!(matches!(protocol.heard_block(now, block(3, &["nginx.a"], 0)), Effect::PassOver(_)));
        assert!(matches!(protocol.streams[&other], Opened::At(0)));

        // After the grant it goes on where it stopped.
        assert!(protocol.access_changed(&granted("*")).is_none());
        assert!(matches!(protocol.heard(now, ToCollector::Open { stream, first: 1 }), Some(Effect::LookUp(_))));
        protocol.opened(now, stream, 1);
        assert!(matches!(protocol.heard_block(now, block(2, &["billing"], 0)), Effect::Accept { base: 1, .. }));
    }

    #[test]
    fn who_is_not_known_any_more_is_refused_and_a_stranger_is_not_asked_before_hello() {
        let now = Instant::now();
        let visitor = || Visitor { access: Arc::new(granted("*")), certificate: None };
        let mut protocol = Protocol::new(now, Some(visitor()));
        assert!(protocol.access_changed(&Access::new(Some(Tokens::of("other")), vec![])).is_none());
        protocol.heard(now, hello("t")).unwrap();
        let gone = protocol.access_changed(&Access::new(Some(Tokens::of("other")), vec![]));
        assert!(matches!(gone, Some(Effect::Refuse(Refusal::Token, _))));
    }
}
