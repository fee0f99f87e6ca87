//! The calls of one connection, and `Log` among them.
//!
//! `i32 Log(1: list<LogEntry> messages)` with `struct LogEntry { 1: string category, 2: string message }`. Unknown fields
//! are left out, absent ones are empty. A frame is checked as a whole before the first of its records is taken.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use logboom_wire::Record;

use super::fb303::Service;
use super::wire::{self, CALL, Header, ONEWAY, PROTOCOL_ERROR, REPLY, Reader, kind};
use crate::source::exchange::{Protocol, RECORD_BYTES, Round, Step, Violation};
use crate::source::funnel::Funnel;

const OK: i32 = 0;
const TRY_LATER: i32 = 1;
const CATEGORY: &str = "logboom.category";

/// One connection's end of the conversation.
pub(super) struct Calls {
    service: Arc<Service>,
    peer: Option<IpAddr>,
    funnel: Funnel,
    /// The messages of a `Log` that is not done with.
    open: Option<Messages>,
    /// Where in the round's answers the results of `Log` are.
    results: Vec<usize>,
    /// Messages of the round.
    messages: u64,
}

/// Where the messages of a `Log` are in its frame.
#[derive(Clone, Copy)]
struct Messages {
    /// Bytes behind the next message.
    left: usize,
    count: usize,
}

impl Calls {
    pub(super) fn new(service: Arc<Service>, peer: Option<IpAddr>) -> Self {
        let funnel = service.inlet().funnel();
        Self { service, peer, funnel, open: None, results: Vec::new(), messages: 0 }
    }

    fn log(
        &mut self,
        call: Header<'_>,
        arguments: Reader<'_>,
        round: &mut Round,
    ) -> Result<ControlFlow<()>, Violation> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => check(arguments)?,
        };
        let any = open.count > 0;
        let mut reader = arguments;
        let before = reader.left() - open.left;
        reader.advance(before)?;
        while open.count > 0 {
            if round.batch.is_full() {
                self.open = Some(open);
                return Ok(ControlFlow::Continue(()));
            }
            let (category, body) = entry(&mut reader)?;
            open = Messages { left: reader.left(), count: open.count - 1 };
            self.messages += 1;
            self.message(category, body, round);
        }
        if call.message == CALL {
            wire::answer(&mut round.answers, call, REPLY, |out| {
                wire::field(out, kind::I32, 0);
                out.extend(OK.to_be_bytes());
                if any {
                    self.results.push(out.len() - 4);
                }
            });
        }
        Ok(ControlFlow::Break(()))
    }

    fn message(&mut self, category: Option<&[u8]>, body: &[u8], round: &mut Round) {
        let chunk = round.batch.chunk(body.len() + RECORD_BYTES);
        let record = Record { observed: round.observed, body, ..Record::default() };
        match category.map(|bytes| (bytes, simdutf8::basic::from_utf8(bytes))) {
            None => self.funnel.record(None, &record, chunk),
            Some((_, Ok(category))) => self.funnel.record(Some(category), &record, chunk),
            Some((bytes, Err(_))) => {
                // Longer ones are refused as a category in any case.
                let name = escaped(&bytes[..bytes.len().min(2 * logboom_config::CATEGORY_BYTES_MAX)]);
                self.funnel.record(Some(&name), &Record { attributes: &[(CATEGORY, &name)], ..record }, chunk);
            }
        }
    }
}

impl Protocol for Calls {
    fn read(&mut self, input: &[u8], round: &mut Round) -> Result<Step, Violation> {
        let Some((&start, rest)) = input.split_first_chunk::<4>() else { return Ok(Step::Wait) };
        let length = u32::from_be_bytes(start) as usize;
        if length > self.service.frame_max() {
            self.service.count_bad();
            return Err(Violation::new(match wire::is_unframed(start) {
                true => "the client sends without frames; have it use the framed transport".to_owned(),
                false => format!("its frame has {length} bytes, more than `max_frame`"),
            }));
        }
        let Some(frame) = rest.get(..length) else { return Ok(Step::Wait) };
        let mut reader = Reader::new(frame);
        let read = reader.header().and_then(|call| {
            let refused = |violation: Violation, round: &mut Round| {
                if call.message == CALL {
                    wire::exception(&mut round.answers, call, PROTOCOL_ERROR, &violation.0);
                }
                violation
            };
            match (call.message, call.name) {
                (CALL | ONEWAY, b"Log") => self.log(call, reader, round).map_err(|why| refused(why, round)),
                (CALL | ONEWAY, _) => {
                    whole(reader).map_err(|why| refused(why, round))?;
                    self.service.call(call, reader, self.peer, &mut round.answers);
                    Ok(ControlFlow::Break(()))
                }
                (other, _) => Err(Violation::new(format!("it is a message of type {other}, not a call"))),
            }
        });
        match read {
            Ok(ControlFlow::Break(())) => Ok(Step::Done(4 + length)),
            Ok(ControlFlow::Continue(())) => Ok(Step::HandOver),
            Err(violation) => {
                self.service.count_bad();
                Err(violation)
            }
        }
    }

    fn refusal(&self, answers: &[u8]) -> Option<Vec<u8>> {
        let mut refusal = answers.to_vec();
        self.try_later(&mut refusal);
        Some(refusal)
    }

    fn settle(&mut self, taken: bool, answers: &mut Vec<u8>) -> bool {
        if !taken {
            self.try_later(answers);
        }
        self.results.clear();
        self.service.count_messages(taken, std::mem::take(&mut self.messages));
        true
    }
}

impl Calls {
    /// Has every `Log` of the round be answered so.
    fn try_later(&self, answers: &mut [u8]) {
        for at in &self.results {
            answers[*at..at + 4].copy_from_slice(&TRY_LATER.to_be_bytes());
        }
    }
}

/// Checks that `arguments` are a struct and nothing else.
fn whole(mut arguments: Reader<'_>) -> Result<(), Violation> {
    arguments.skip(kind::STRUCT)?;
    match arguments.left() {
        0 => Ok(()),
        more => Err(Violation::new(format!("there are {more} bytes behind its end"))),
    }
}

/// Checks the arguments of `Log` to their end, and finds the messages in them.
fn check(arguments: Reader<'_>) -> Result<Messages, Violation> {
    whole(arguments)?;
    let mut reader = arguments;
    let mut found = None;
    while let Some((kind, id)) = reader.field()? {
        if (kind, id) != (kind::LIST, 1) {
            reader.skip(kind)?;
            continue;
        }
        let (kind, count) = reader.list()?;
        if count > 0 && kind != kind::STRUCT {
            return Err(Violation::new("its messages are not structs"));
        }
        if found.replace(Messages { left: reader.left(), count }).is_some() {
            return Err(Violation::new("it has two lists of messages"));
        }
        for _ in 0..count {
            entry(&mut reader)?;
        }
    }
    Ok(found.unwrap_or(Messages { left: 0, count: 0 }))
}

/// Reads a message: its category, where it has one, and its text.
fn entry<'a>(reader: &mut Reader<'a>) -> Result<(Option<&'a [u8]>, &'a [u8]), Violation> {
    let (mut category, mut message) = (None, &b""[..]);
    while let Some((kind, id)) = reader.field()? {
        match (kind, id) {
            (kind::STRING, 1) => category = Some(reader.string()?),
            (kind::STRING, 2) => message = reader.string()?,
            _ => reader.skip(kind)?,
        }
    }
    Ok((category, message))
}

/// The text of `bytes`, with those that are not UTF-8 written like `\xe9`.
fn escaped(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .fold(String::new(), |text, piece| text + piece.valid() + &piece.invalid().escape_ascii().to_string())
}
