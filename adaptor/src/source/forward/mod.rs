//! A source of type `forward`: the Forward protocol of Fluentd, Fluent Bit and Docker's `fluentd` log driver.
//!
//! | file | what it knows |
//! |---|---|
//! | [`msgpack`] | MessagePack: where a value ends, what it is |
//! | [`message`] | the four modes and their options |
//! | [`record`] | how an event becomes a record |
//! | [`json`] | a value as JSON |
//! | [`handshake`] | how both ends prove the shared key |
//!
//! A message with a `chunk` is acknowledged when all its events are on disk. When the spool refuses there is no
//! acknowledgement, for the protocol knows no other refusal: the connection is closed, so that the client sends the message
//! again; what was sent without a `chunk` is then lost, as its producer chose. A client that repeats a message whose
//! acknowledgement it missed makes its events twice.
//!
//! Not served: heartbeats over UDP, which Fluentd's `out_forward` sends only where `heartbeat_type udp` is set (its default
//! is a TCP connection), users and passwords in the handshake, and JSON in place of MessagePack, which Fluentd also takes.

mod handshake;
mod json;
mod message;
mod msgpack;
mod record;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use futures::FutureExt;
use logboom_config::{ForwardSource, Secret, Source, Transport};
use logboom_security::Live;
use logboom_wire::decompress::{Bounds, Compression, decompress};
use tokio_util::sync::CancellationToken;

use super::exchange::{self, Protocol, RECORD_BYTES, Round, Shared, Step, Violation};
use super::funnel::Funnel;
use super::net;
use super::{Context, Inlet, Running};
use handshake::{Handshake, PING_BYTES_MAX};
use message::{Events, Message};
use msgpack::{Reader, Scanner};
use record::Recorder;

/// Tags whose funnels are kept, each with a tag of up to 1 KiB.
const FUNNELS_MAX: usize = 16;
const TAG: &str = "fluent.tag";

/// Opens the source.
///
/// # Errors
/// Says what is wrong with the address, the path or the TLS files and how to mend it.
pub(super) fn open(
    source: Source,
    settings: ForwardSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let ForwardSource { transport, shared_key, max_frame, max_ratio } = settings;
    let (listener, allowed) = match &transport {
        Transport::Tcp(tcp) => net::bind_tcp(&source.name, tcp, &[])?,
        Transport::Unix(unix) => net::bind_unix_stream(&source.name, unix)?,
        Transport::Udp(_) => return Err("`transport` cannot be \"udp\"; set \"tcp\" or \"unix\"".to_owned()),
    };
    let what = format!("shared key of source `{}`", source.name);
    let key = shared_key.map(|key| Live::secret(what, key)).transpose()?;
    let (inlet, shared) = (Inlet::new(source, context), Shared::new(max_frame));
    let serve = {
        let inlet = inlet.clone();
        move |connection| {
            let key = key.as_ref().map(|key| (*key.current()).clone());
            let events = Conversation::new(inlet.clone(), key, max_frame, max_ratio);
            exchange::serve(inlet.clone(), shared.clone(), events, connection)
        }
    };
    Ok(async move { net::serve(listener, allowed, inlet, stop, serve).await }.boxed())
}

/// One connection's end of the conversation.
struct Conversation {
    inlet: Arc<Inlet>,
    frame_max: usize,
    ratio_max: usize,
    /// Until the client has proved the key.
    handshake: Option<Handshake>,
    scanner: Scanner,
    /// The message that is not done with.
    open: Option<Open>,
    /// For what is not at the top of a message.
    inner: Scanner,
    funnels: HashMap<String, Funnel>,
    recorder: Recorder,
}

/// A message whose events are all known to be whole, some of which are taken.
struct Open {
    tag: String,
    events: Opened,
    /// How many bytes of the events are still to be read.
    left: usize,
    /// What is to be said when all are taken.
    chunk: Option<Vec<u8>>,
}

/// Where the events are.
enum Opened {
    /// In the message, from and to.
    Here {
        one: bool,
        from: usize,
        to: usize,
    },
    Unpacked(Vec<u8>),
    /// Not decompressed yet, for which there must be memory.
    Packed(Compression, Range<usize>),
}

impl Conversation {
    fn new(inlet: Arc<Inlet>, key: Option<Secret>, frame_max: usize, ratio_max: usize) -> Self {
        let handshake = key.map(|key| Handshake::new(key, &inlet.context().host));
        Self {
            inlet,
            frame_max,
            ratio_max,
            handshake,
            scanner: Scanner::default(),
            open: None,
            inner: Scanner::default(),
            funnels: HashMap::new(),
            recorder: Recorder::default(),
        }
    }

    /// Takes the events of a message that is there as a whole.
    fn message(&mut self, message: &[u8], round: &mut Round) -> Result<Step, Violation> {
        let mut open = match self.open.take() {
            Some(Open { events: Opened::Packed(compression, at), tag, chunk, .. }) => {
                let bounds = Bounds { bytes_max: self.frame_max, ratio_max: self.ratio_max };
                let events = decompress(compression, &message[at], bounds)
                    .map_err(|error| Violation::new(format!("of its events: {error}")))?;
                message::check(&events, &mut self.inner)?;
                Open { tag, left: events.len(), events: Opened::Unpacked(events), chunk }
            }
            Some(open) => open,
            None => {
                let Some(open) = self.open(message)? else { return Ok(Step::Done(message.len())) };
                if let Opened::Packed(..) = open.events {
                    self.open = Some(open);
                    return Ok(Step::Room(self.frame_max));
                }
                open
            }
        };
        let (one, events) = match &open.events {
            Opened::Here { one, from, to } => (*one, &message[*from..*to]),
            Opened::Unpacked(events) => (false, &events[..]),
            Opened::Packed(..) => unreachable!("it is unpacked"),
        };
        let (funnel, counters) = (funnel(&mut self.funnels, &self.inlet, &open.tag), self.inlet.counters());
        let (mut reader, mut last) = (Reader::new(&events[events.len() - open.left..]), 0);
        while reader.left() > 0 {
            if round.batch.is_full() {
                open.left = reader.left();
                self.open = Some(open);
                return Ok(Step::HandOver);
            }
            let before = reader.left();
            let event = if one { message::bare_event(&mut reader) } else { message::event(&mut reader) }?;
            // How long an event is shows when it is read: then it is counted with the next.
            let chunk = round.batch.chunk(RECORD_BYTES + if one { before } else { last });
            reader = self.recorder.push(&event, round.observed, self.frame_max, funnel, counters, chunk)?;
            last = before - reader.left();
        }
        if let Some(chunk) = &open.chunk {
            write::ack(&mut round.answers, chunk);
        }
        Ok(Step::Done(message.len()))
    }

    /// Reads a message and checks all its events, unless they are compressed. `None` for a heartbeat.
    fn open(&mut self, message: &[u8]) -> Result<Option<Open>, Violation> {
        let Some(read) = Message::read(message)? else { return Ok(None) };
        let (events, left) = match read.events {
            Events::One(at) => {
                message::bare_event(&mut Reader::new(&message[at.clone()]))?;
                (Opened::Here { one: true, from: at.start, to: at.end }, at.len())
            }
            Events::Many(at) => {
                message::check(&message[at.clone()], &mut self.inner)?;
                (Opened::Here { one: false, from: at.start, to: at.end }, at.len())
            }
            Events::Compressed(compression, at) => (Opened::Packed(compression, at), 0),
        };
        let tag = String::from_utf8_lossy(&message[read.tag]).into_owned();
        Ok(Some(Open { tag, events, left, chunk: read.chunk.map(|chunk| message[chunk].to_vec()) }))
    }
}

impl Protocol for Conversation {
    fn greeting(&mut self) -> Vec<u8> {
        self.handshake.as_ref().map(Handshake::helo).unwrap_or_default()
    }

    fn is_admitted(&self) -> bool {
        self.handshake.is_none()
    }

    fn read(&mut self, input: &[u8], round: &mut Round) -> Result<Step, Violation> {
        let bytes_max = if self.is_admitted() { self.frame_max } else { PING_BYTES_MAX };
        let Some(length) = self.scanner.scan(input, bytes_max)? else { return Ok(Step::Wait) };
        let message = &input[..length];
        let step = match &self.handshake {
            None => self.message(message, round)?,
            Some(handshake) => {
                if let Err(reason) = handshake.pong(message, &mut round.answers) {
                    self.inlet.counters().handshakes_failed.add(1);
                    return Err(Violation::new(reason));
                }
                self.handshake = None;
                Step::Done(length)
            }
        };
        if let Step::Done(_) = step {
            self.scanner.reset();
        }
        Ok(step)
    }

    fn settle(&mut self, taken: bool, answers: &mut Vec<u8>) -> bool {
        if !taken {
            answers.clear();
        }
        taken
    }
}

/// The funnel for a tag. Each has its own, because what records have in common is dear to change.
fn funnel<'f>(funnels: &'f mut HashMap<String, Funnel>, inlet: &Inlet, tag: &str) -> &'f mut Funnel {
    if !funnels.contains_key(tag) {
        if funnels.len() == FUNNELS_MAX {
            funnels.clear();
        }
        let mut funnel = inlet.funnel();
        funnel.set_common([(TAG, tag)].into_iter());
        funnels.insert(tag.to_owned(), funnel);
    }
    funnels.get_mut(tag).expect("it is there")
}
