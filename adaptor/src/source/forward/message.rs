//! The messages that carry events.
//!
//! | mode | message |
//! |---|---|
//! | Message | `[tag, time, record, option?]` |
//! | Forward | `[tag, [[time, record], …], option?]` |
//! | PackedForward | `[tag, bytes of [time, record] one after another, option?]` |
//! | CompressedPackedForward | the same with the bytes compressed, as the option `compressed` says |
//!
//! Of the options, `chunk` asks for an acknowledgement and `compressed` is `gzip`, `zstd` or `text`; `size` is a hint that
//! nothing here needs. In place of a time, Fluent Bit may send `[time, metadata]`. A `nil` for a message is a heartbeat.
//! See the Forward Protocol Specification v1.

use std::ops::Range;

use logboom_wire::decompress::Compression;

use super::msgpack::{Item, Malformed, Reader, Scanner, Value};
use super::record::{self, Event};
use crate::source::exchange::Violation;

/// Bytes of a tag, at most.
const TAG_BYTES_MAX: usize = 1 << 10;
/// Bytes of a `chunk`, at most: it comes back.
const CHUNK_BYTES_MAX: usize = 1 << 10;

impl From<Malformed> for Violation {
    fn from(malformed: Malformed) -> Self {
        Violation::new(malformed.to_string())
    }
}

/// A message, by where its parts are in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) tag: Range<usize>,
    pub(super) events: Events,
    /// What an acknowledgement names: a value as it came.
    pub(super) chunk: Option<Range<usize>>,
}

/// Where the events of a message are, one after another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Events {
    /// One, which is not in an array of its own.
    One(Range<usize>),
    Many(Range<usize>),
    Compressed(Compression, Range<usize>),
}

impl Message {
    /// Reads a message that was scanned; `None` for a heartbeat. What is compressed, or bytes, is not looked into.
    pub(super) fn read(message: &[u8]) -> Result<Option<Self>, Violation> {
        let whole = message.len();
        let mut reader = Reader::new(message);
        let parts = match reader.value()? {
            Value::Nil => return Ok(None),
            Value::Array(parts @ 2..=4) => parts,
            _ => return Err(Violation::new("it is not an array of 2 to 4 parts")),
        };
        let (Value::Str(tag) | Value::Bin(tag)) = reader.value()? else {
            return Err(Violation::new("its tag is not a text"));
        };
        let tag_end = whole - reader.left();
        if tag.len() > TAG_BYTES_MAX {
            return Err(Violation::new(format!("its tag has {} bytes, more than {TAG_BYTES_MAX}", tag.len())));
        }
        let Item { value, bytes } = reader.item()?;
        let end = whole - reader.left();
        let (events, mut used) = match value {
            Value::Str(packed) | Value::Bin(packed) => (Events::Many(end - packed.len()..end), 2),
            Value::Array(_) => {
                // Behind the array's own head.
                let mut inside = Reader::new(bytes);
                inside.value()?;
                (Events::Many(end - inside.left()..end), 2)
            }
            _ if parts == 2 => return Err(Violation::new("it has no record")),
            _ => {
                let start = end - bytes.len();
                reader.item()?;
                (Events::One(start..whole - reader.left()), 3)
            }
        };
        let packed = matches!(value, Value::Str(_) | Value::Bin(_));
        let mut message = Message { tag: tag_end - tag.len()..tag_end, events, chunk: None };
        if used < parts {
            used += 1;
            message.options(&mut reader, whole, packed)?;
        }
        match used == parts {
            true => Ok(Some(message)),
            false => Err(Violation::new("it has more parts than its mode")),
        }
    }

    fn options(&mut self, reader: &mut Reader<'_>, whole: usize, packed: bool) -> Result<(), Violation> {
        let options = match reader.value()? {
            Value::Map(options) => options,
            Value::Nil => 0,
            _ => return Err(Violation::new("its option is not a map")),
        };
        for _ in 0..options {
            let (name, value) = (reader.item()?, reader.item()?);
            match (name.value, value.value) {
                (_, Value::Nil) => {}
                (Value::Str(b"chunk"), Value::Str(_) | Value::Bin(_)) if value.bytes.len() <= CHUNK_BYTES_MAX => {
                    let end = whole - reader.left();
                    self.chunk = Some(end - value.bytes.len()..end);
                }
                (Value::Str(b"chunk"), _) => {
                    return Err(Violation::new(format!("its `chunk` is not a text of up to {CHUNK_BYTES_MAX} bytes")));
                }
                (Value::Str(b"compressed"), value) => {
                    let compression = match value {
                        Value::Str(b"text") => continue,
                        Value::Str(b"gzip") => Compression::Gzip,
                        Value::Str(b"zstd") => Compression::Zstd,
                        _ => return Err(Violation::new("it is compressed neither with gzip nor with zstd")),
                    };
                    match &self.events {
                        Events::Many(at) | Events::Compressed(_, at) if packed => {
                            self.events = Events::Compressed(compression, at.clone());
                        }
                        _ => return Err(Violation::new("it is said to be compressed and is not packed")),
                    }
                }
                // Metrics and traces have the form of events and are none.
                (Value::Str(b"fluent_signal"), signal) if !matches!(signal, Value::Signed(0) | Value::Unsigned(0)) => {
                    return Err(Violation::new("it carries metrics or traces; only logs are taken"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Checks every event of a stream of them.
pub(super) fn check(events: &[u8], scanner: &mut Scanner) -> Result<(), Violation> {
    let mut rest = events;
    while !rest.is_empty() {
        scanner.reset();
        let length = match scanner.scan(rest, usize::MAX)? {
            Some(length) => length,
            None => return Err(Malformed::Short.into()),
        };
        event(&mut Reader::new(&rest[..length]))?;
        rest = &rest[length..];
    }
    Ok(())
}

/// Reads the next event of a stream of them, up to the members of its record.
pub(super) fn event<'a>(reader: &mut Reader<'a>) -> Result<Event<'a>, Violation> {
    match reader.value()? {
        Value::Array(2) => bare_event(reader),
        _ => Err(Violation::new("an event is not an array of time and record")),
    }
}

/// Reads an event that is not in an array of its own.
pub(super) fn bare_event<'a>(reader: &mut Reader<'a>) -> Result<Event<'a>, Violation> {
    let mut time = reader.item()?;
    let mut metadata = None;
    if let Value::Array(2) = time.value {
        let mut inside = Reader::new(time.bytes);
        inside.value()?;
        time = inside.item()?;
        metadata = Some(inside.item()?).filter(|metadata| metadata.value != Value::Map(0));
    }
    match reader.value()? {
        Value::Map(members) => Ok(Event { time: record::time(time.value), metadata, members, record: *reader }),
        _ => Err(Violation::new("an event's record is not a map")),
    }
}
