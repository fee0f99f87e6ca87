//! How an event becomes a record.
//!
//! | of the event | becomes |
//! |---|---|
//! | its tag | the attribute `fluent.tag`, and by default the category |
//! | its time: an EventTime, or seconds since 1970 | the timestamp; 0 and what is neither count as none |
//! | `log`, or else `message`, or else `msg`, where it is a text or bytes | the body, byte for byte |
//! | any other member | an attribute: a text as it is, a number or a boolean as it is written, anything else as its JSON |
//!
//! Where there is nothing for a body it is the whole event as JSON, besides the attributes. `nil` counts as absent. Of
//! members with the same name the last counts.

use logboom_wire::Record;

use super::json::{self, Unwritten};
use super::msgpack::{Item, Malformed, Reader, Value};
use crate::counters::Counters;
use crate::intake::Chunk;
use crate::source::funnel::Funnel;
use crate::source::line::recycle;

const BODIES: [&[u8]; 3] = [b"log", b"message", b"msg"];
/// What a record may have; more is counted as left out.
const ATTRIBUTES_MAX: usize = 256;
/// Bytes of attributes that are written anew, at most.
const SCRATCH_BYTES_MAX: usize = 1 << 20;
/// Memory that is kept for the next record.
const KEEP_BYTES: usize = 64 << 10;
const METADATA: Item<'static> = Item { value: Value::Str(b"fluent.metadata"), bytes: b"" };
const SECOND_NS: i128 = 1_000_000_000;

/// An event, known to be whole.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    /// Nanoseconds since 1970.
    pub(super) time: Option<i64>,
    /// What Fluent Bit says of an event beside its record.
    pub(super) metadata: Option<Item<'a>>,
    /// How many members the record has, and where they are.
    pub(super) members: usize,
    pub(super) record: Reader<'a>,
}

/// Nanoseconds since 1970 of a time as events have it. `None` where it is not known.
pub(super) fn time(value: Value<'_>) -> Option<i64> {
    let nanos = match value {
        Value::Unsigned(seconds) => i128::from(seconds) * SECOND_NS,
        Value::Signed(seconds) => i128::from(seconds) * SECOND_NS,
        Value::F32(seconds) => (f64::from(seconds) * 1e9) as i128,
        Value::F64(seconds) => (seconds * 1e9) as i128,
        // An EventTime.
        Value::Ext(0, &[a, b, c, d, e, f, g, h]) => {
            let (seconds, nanos) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            i128::from(seconds) * SECOND_NS + i128::from(nanos)
        }
        _ => return None,
    };
    i64::try_from(nanos).ok().filter(|nanos| *nanos != 0)
}

/// Makes records of events. Its memory is used again for the next.
#[derive(Default)]
pub(super) struct Recorder {
    list: Vec<(Text<'static>, Text<'static>)>,
    views: Vec<(&'static str, &'static str)>,
    scratch: Vec<u8>,
    body: Vec<u8>,
}

impl Recorder {
    /// Adds the record of an event, observed at `observed` (ns since 1970), to a chunk, and returns what is behind the
    /// event. A body that has to be written as JSON is cut to `body_max` bytes.
    pub(super) fn push<'a>(
        &mut self,
        event: &Event<'a>,
        observed: i64,
        body_max: usize,
        funnel: &mut Funnel,
        counters: &Counters,
        chunk: &mut Chunk,
    ) -> Result<Reader<'a>, Malformed> {
        let (list, scratch) = (recycle(std::mem::take(&mut self.list)), std::mem::take(&mut self.scratch));
        let mut attributes = Attributes { list, scratch, left_out: 0 };
        let mut bodies = [None; BODIES.len()];
        let mut reader = event.record;
        for _ in 0..event.members {
            let (name, value) = (reader.item()?, reader.item()?);
            let rank = match (name.value, value.value) {
                (Value::Str(name), Value::Str(_) | Value::Bin(_)) => BODIES.iter().position(|body| *body == name),
                _ => None,
            };
            match rank {
                Some(rank) => bodies[rank] = Some((name, value)),
                None => attributes.add(name, value),
            }
        }
        if let Some(metadata) = event.metadata {
            attributes.add(METADATA, metadata);
        }
        let mut bodies = bodies.into_iter().flatten();
        let body = bodies.next();
        bodies.for_each(|(name, value)| attributes.add(name, value));
        let body = match body {
            Some((_, Item { value: Value::Str(body) | Value::Bin(body), .. })) => body,
            _ => {
                self.body.clear();
                match json::members(&mut event.record.clone(), event.members, &mut self.body, body_max) {
                    Ok(()) => {}
                    Err(Unwritten::Long) => {
                        self.body.truncate(body_max);
                        counters.lines_truncated.add(1);
                    }
                    Err(Unwritten::Malformed(malformed)) => return Err(malformed),
                }
                &self.body
            }
        };
        let Attributes { list, scratch, left_out } = attributes;
        counters.attributes_dropped.add(left_out);
        let mut views = recycle(std::mem::take(&mut self.views));
        views.extend(list.iter().map(|(name, value)| (name.show(&scratch), value.show(&scratch))));
        let record = Record { timestamp: event.time, observed, body, attributes: &views, ..Record::default() };
        funnel.record(None, &record, chunk);
        self.views = recycle(views);
        self.list = recycle(list);
        self.scratch = scratch;
        for memory in [&mut self.scratch, &mut self.body] {
            memory.clear();
            memory.shrink_to(KEEP_BYTES);
        }
        Ok(reader)
    }
}

/// The attributes of a record.
struct Attributes<'a> {
    list: Vec<(Text<'a>, Text<'a>)>,
    /// Texts that are not in the event as they should be.
    scratch: Vec<u8>,
    left_out: u64,
}

/// A text of an attribute.
#[derive(Clone, Copy)]
enum Text<'a> {
    Whole(&'a str),
    /// From and to where it is in the scratch memory.
    Scratch(usize, usize),
}

impl<'a> Text<'a> {
    fn show<'s>(self, scratch: &'s [u8]) -> &'s str
    where
        'a: 's,
    {
        match self {
            Text::Whole(text) => text,
            // Nothing but UTF-8 was written there.
            Text::Scratch(from, to) => simdutf8::basic::from_utf8(&scratch[from..to]).unwrap_or_default(),
        }
    }
}

impl<'a> Attributes<'a> {
    /// Sets an attribute, unless there is too much of them.
    fn add(&mut self, name: Item<'a>, value: Item<'a>) {
        if value.value == Value::Nil {
            return;
        }
        let before = self.scratch.len();
        let (name, value) = (self.text(name), self.text(value));
        let shown = name.show(&self.scratch);
        let same = self.list.iter().position(|(other, _)| other.show(&self.scratch) == shown);
        match same {
            _ if self.scratch.len() > SCRATCH_BYTES_MAX => {
                self.scratch.truncate(before);
                self.left_out += 1;
            }
            Some(same) => self.list[same].1 = value,
            None if self.list.len() == ATTRIBUTES_MAX => {
                self.scratch.truncate(before);
                self.left_out += 1;
            }
            None => self.list.push((name, value)),
        }
    }

    fn text(&mut self, item: Item<'a>) -> Text<'a> {
        let start = self.scratch.len();
        match item.value {
            Value::Bool(true) => return Text::Whole("true"),
            Value::Bool(false) => return Text::Whole("false"),
            Value::Str(bytes) | Value::Bin(bytes) => match simdutf8::basic::from_utf8(bytes) {
                Ok(text) => return Text::Whole(text),
                Err(_) => {
                    let cut = &bytes[..bytes.len().min(SCRATCH_BYTES_MAX + 1)];
                    self.scratch.extend_from_slice(String::from_utf8_lossy(cut).as_bytes());
                }
            },
            Value::F32(number) if !number.is_finite() => self.scratch.extend(number.to_string().bytes()),
            Value::F64(number) if !number.is_finite() => self.scratch.extend(number.to_string().bytes()),
            Value::Ext(_, bytes) => json::write_hex(&bytes[..bytes.len().min(SCRATCH_BYTES_MAX)], &mut self.scratch),
            Value::Array(_) | Value::Map(_) => {
                // Where it is too long, that shows in the scratch.
                let _ = json::write(&mut Reader::new(item.bytes), &mut self.scratch, SCRATCH_BYTES_MAX);
            }
            number => json::write_scalar(number, &mut self.scratch),
        }
        Text::Scratch(start, self.scratch.len())
    }
}
