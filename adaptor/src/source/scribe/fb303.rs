//! The methods of fb303, by which operators' tools ask a Scribe server how it is.
//!
//! | method | answer |
//! |---|---|
//! | `getName`, `getVersion` | the source's name; the adaptor's version |
//! | `getStatus`, `getStatusDetails` | ALIVE; WARNING while the spool refuses; STOPPING |
//! | `getCounters`, `getCounter` | what the adaptor counts, and of this source what Scribe counted, under its names |
//! | `aliveSince` | when the source was opened, in seconds since 1970 |
//! | `getOptions`, `getOption` | the source's limits |
//! | `setOption` | an exception: options are set in the adaptor's settings |
//! | `getCpuProfile` | an empty text |
//! | `reinitialize`, `shutdown` | none, ever; obeyed if the peer is in `control_from`: there is nothing to reinitialize, and a shutdown ends the adaptor |
//!
//! What is asked for and not there is 0 or empty, as fb303 has it. Any other method is answered with an exception.

use std::net::IpAddr;
use std::sync::Arc;

use logboom_config::ScribeSource;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::wire::{self, CALL, Header, INTERNAL_ERROR, REPLY, Reader, UNKNOWN_METHOD, kind};
use crate::counters::Counter;
use crate::source::net::Seldom;
use crate::source::{Inlet, observed_now};

const ALIVE: i32 = 2;
const STOPPING: i32 = 3;
const WARNING: i32 = 5;

/// What the connections of a source share.
pub(super) struct Service {
    inlet: Arc<Inlet>,
    settings: ScribeSource,
    alive_since: i64,
    stop: CancellationToken,
    shutdown: fn(),
    good: Counter,
    bad: Counter,
    denied: Counter,
    refused: Seldom,
}

impl Service {
    pub(super) fn new(inlet: Arc<Inlet>, settings: ScribeSource, stop: CancellationToken, shutdown: fn()) -> Self {
        Self {
            inlet,
            settings,
            alive_since: observed_now() / 1_000_000_000,
            stop,
            shutdown,
            good: Counter::default(),
            bad: Counter::default(),
            denied: Counter::default(),
            refused: Seldom::default(),
        }
    }

    pub(super) fn inlet(&self) -> &Arc<Inlet> {
        &self.inlet
    }

    pub(super) fn frame_max(&self) -> usize {
        self.settings.max_frame
    }

    /// Counts the messages of a round.
    pub(super) fn count_messages(&self, taken: bool, messages: u64) {
        match taken {
            true => self.good.add(messages),
            false => self.denied.add(messages),
        }
    }

    /// Counts a frame that cannot be read.
    pub(super) fn count_bad(&self) {
        self.bad.add(1);
    }

    /// Answers a call of any method but `Log`. Its arguments are known to be whole.
    pub(super) fn call(&self, call: Header<'_>, arguments: Reader<'_>, peer: Option<IpAddr>, out: &mut Vec<u8>) {
        if matches!(call.name, b"reinitialize" | b"shutdown") {
            return self.control(call.name == b"shutdown", peer);
        }
        if call.message != CALL {
            return;
        }
        let text = |out: &mut Vec<u8>, text: &str| {
            wire::answer(out, call, REPLY, |out| {
                wire::field(out, kind::STRING, 0);
                wire::string(out, text.as_bytes());
            });
        };
        let long = |out: &mut Vec<u8>, number: i64| {
            wire::answer(out, call, REPLY, |out| {
                wire::field(out, kind::I64, 0);
                out.extend(number.to_be_bytes());
            });
        };
        match call.name {
            b"getName" => text(out, self.inlet.name()),
            b"getVersion" => text(out, env!("CARGO_PKG_VERSION")),
            b"getStatus" => wire::answer(out, call, REPLY, |out| {
                wire::field(out, kind::I32, 0);
                out.extend(self.status().0.to_be_bytes());
            }),
            b"getStatusDetails" => text(out, self.status().1),
            b"getCounters" => {
                let (mut count, mut pairs) = (0, Vec::new());
                self.each_counter(|name, value| {
                    count += 1;
                    wire::string(&mut pairs, name.as_bytes());
                    pairs.extend((value as i64).to_be_bytes());
                });
                map(out, call, kind::I64, count, &pairs);
            }
            b"getCounter" => {
                let (wanted, mut found) = (argument(arguments), 0);
                self.each_counter(|name, value| {
                    if name.as_bytes() == wanted {
                        found = value;
                    }
                });
                long(out, found as i64);
            }
            b"aliveSince" => long(out, self.alive_since),
            b"getOptions" => {
                let mut pairs = Vec::new();
                let options = self.options();
                for (name, value) in &options {
                    wire::string(&mut pairs, name.as_bytes());
                    wire::string(&mut pairs, value.as_bytes());
                }
                map(out, call, kind::STRING, options.len(), &pairs);
            }
            b"getOption" => {
                let wanted = argument(arguments);
                let options = self.options();
                let found = options.iter().find(|(name, _)| name.as_bytes() == wanted);
                text(out, found.map_or("", |(_, value)| value));
            }
            b"setOption" => {
                wire::exception(out, call, INTERNAL_ERROR, "options are set in the adaptor's settings, not here");
            }
            b"getCpuProfile" => text(out, ""),
            name => {
                let name = String::from_utf8_lossy(name);
                wire::exception(out, call, UNKNOWN_METHOD, &format!("there is no method `{name}`"));
            }
        }
    }

    /// `reinitialize` and `shutdown`.
    fn control(&self, shutdown: bool, peer: Option<IpAddr>) {
        let (source, name) = (self.inlet.name(), if shutdown { "shutdown" } else { "reinitialize" });
        let may = peer.is_some_and(|peer| self.settings.control_from.iter().any(|ip| ip.to_canonical() == peer));
        match (may, peer) {
            (true, Some(peer)) => {
                info!(source, %peer, "`{name}` is called, and obeyed");
                if shutdown {
                    (self.shutdown)();
                }
            }
            _ => {
                self.inlet.counters().messages_refused.add(1);
                if self.refused.now() {
                    warn!(source, ?peer, "`{name}` is called by a peer that is not in `control_from`, and ignored");
                }
            }
        }
    }

    fn status(&self) -> (i32, &'static str) {
        if self.stop.is_cancelled() {
            (STOPPING, "the adaptor is stopping")
        } else if self.inlet.context().intake.is_refusing() {
            (WARNING, "the spool is full: Log is answered with TRY_LATER")
        } else {
            (ALIVE, "")
        }
    }

    fn each_counter(&self, mut see: impl FnMut(&str, u64)) {
        see("scribe_overall:received good", self.good.get());
        see("scribe_overall:received bad", self.bad.get());
        see("scribe_overall:denied for queue size", self.denied.get());
        self.inlet.counters().each(see);
    }

    fn options(&self) -> [(&'static str, String); 4] {
        [
            ("listen", self.settings.tcp.listen.to_string()),
            ("max_connections", self.settings.tcp.max_connections.to_string()),
            ("max_frame", self.settings.max_frame.to_string()),
            ("max_line", self.inlet.source().max_line.to_string()),
        ]
    }
}

/// Answers with a map from texts, whose `count` pairs are written already.
fn map(out: &mut Vec<u8>, call: Header<'_>, values: u8, count: usize, pairs: &[u8]) {
    wire::answer(out, call, REPLY, |out| {
        wire::field(out, kind::MAP, 0);
        out.extend([kind::STRING, values]);
        out.extend((count as u32).to_be_bytes());
        out.extend_from_slice(pairs);
    });
}

/// The first argument, which is a text; empty where it is not there.
fn argument(mut arguments: Reader<'_>) -> &[u8] {
    while let Ok(Some((kind, id))) = arguments.field() {
        match (kind, id) {
            (kind::STRING, 1) => return arguments.string().unwrap_or_default(),
            _ if arguments.skip(kind).is_ok() => {}
            _ => break,
        }
    }
    b""
}
