//! The `syslog` format: a message of RFC 5424 or RFC 3164, or of what real devices make of them, becomes one record.
//!
//! | part of the message | becomes |
//! |---|---|
//! | timestamp | the record's; one without a year gets the year that puts it nearest to now |
//! | severity | `emerg` 21, `alert` 19, `crit` 18, `err` 17, `warning` 13, `notice` 10, `info` 9, `debug` 5, as OpenTelemetry maps them |
//! | facility | `syslog.facility`, by name |
//! | hostname, app name (tag), process id, message id | `syslog.hostname`, `syslog.app_name`, `syslog.proc_id`, `syslog.msg_id`, where there are any |
//! | structured data | `syslog.<sd-id>.<param>`, unescaped; a repeated one gets `.2`, `.3` …; an element without parameters is `syslog.<sd-id>`, empty |
//! | the rest | the body, byte for byte, without a byte order mark |
//!
//! What every real sender gets wrong is forgiven where nothing is lost by it. Bytes that neither begin with a priority
//! nor with a timestamp are kept whole as the body, and structured data that is malformed is kept as the beginning of the
//! body; both with the attribute `logboom.parse_error`.

mod legacy;
mod names;
mod structured;
#[cfg(test)]
mod tests;
mod time;

use std::ops::Range;

use jiff::tz::TimeZone;
use logboom_wire::Record;

use super::PARSE_ERROR;
use super::fields::recycle;

pub(in crate::source) use names::severity;
pub(in crate::source) use time::local_zone;

/// Spare memory beyond this many bytes is given back after each message.
const SPARE_BYTES_MAX: usize = 64 << 10;
/// Byte order mark of UTF-8, by which RFC 5424 says that a message is UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A message, read. Borrows from the message and from the [`Scratch`].
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    /// When it says that it was sent, ns since 1970.
    pub(crate) timestamp: Option<i64>,
    /// OpenTelemetry severity number; 0 for none.
    pub(crate) severity_number: u8,
    /// The severity's name; empty for none.
    pub(crate) severity_text: &'static str,
    /// What it says.
    pub(crate) body: &'a [u8],
    /// Distinct keys; with `logboom.parse_error` last where there is an error.
    pub(crate) attributes: &'a [(&'a str, &'a str)],
    /// Why it could not be read as a whole: to be counted as `lines_unparsed`.
    pub(crate) error: Option<&'static str>,
}

impl Parsed<'_> {
    /// The record of a message that was observed at `observed` (ns since 1970).
    pub(crate) fn record(&self, observed: i64) -> Record<'_> {
        Record {
            timestamp: self.timestamp,
            observed,
            severity_number: self.severity_number,
            severity_text: self.severity_text,
            body: self.body,
            attributes: self.attributes,
            ..Record::default()
        }
    }
}

/// Memory that is used again for every message.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    made: String,
    fields: Vec<(Text<'static>, Text<'static>)>,
    views: Vec<(&'static str, &'static str)>,
}

/// Reads `message` and calls `take` with what it says. Never fails: see [`Parsed::error`].
///
/// `now` (ns since 1970) is what the year of a timestamp without one is guessed from; `zone` is where a timestamp without
/// an offset was taken. Copies nothing but structured data, whose keys are composed, and header fields that are not UTF-8,
/// which become so with replacement characters. The message is one message: its framing, and a newline or NUL that ends it
/// there, are not part of it.
pub(crate) fn parse<T>(
    message: &[u8],
    now: i64,
    zone: &TimeZone,
    scratch: &mut Scratch,
    take: impl FnOnce(&Parsed<'_>) -> T,
) -> T {
    let mut reading = Reading {
        clock: Clock { now, zone },
        timestamp: None,
        severity: (0, ""),
        body: message,
        error: None,
        made: std::mem::take(&mut scratch.made),
        fields: recycle(std::mem::take(&mut scratch.fields)),
    };
    reading.message(message);
    let Reading { timestamp, severity, body, error, mut made, fields, .. } = reading;
    let mut views = recycle(std::mem::take(&mut scratch.views));
    views.extend(fields.iter().map(|(key, value)| (key.of(&made), value.of(&made))));
    views.extend(error.map(|reason| (PARSE_ERROR, reason)));
    let (severity_number, severity_text) = severity;
    let taken = take(&Parsed { timestamp, severity_number, severity_text, body, attributes: &views, error });
    scratch.views = recycle(views);
    scratch.fields = recycle(fields);
    made.clear();
    made.shrink_to(SPARE_BYTES_MAX);
    scratch.made = made;
    taken
}

/// What timestamps are read by.
#[derive(Clone, Copy)]
struct Clock<'z> {
    /// Ns since 1970.
    now: i64,
    zone: &'z TimeZone,
}

/// A key or a value.
#[derive(Clone, Debug)]
enum Text<'m> {
    /// As it stands in the message, or always the same.
    Plain(&'m str),
    /// Where it stands among the texts that were made.
    Made(Range<usize>),
}

impl Text<'_> {
    fn of<'t>(&'t self, made: &'t str) -> &'t str {
        match self {
            Text::Plain(text) => text,
            Text::Made(range) => &made[range.clone()],
        }
    }
}

/// A message that is being read.
struct Reading<'m, 'z> {
    clock: Clock<'z>,
    timestamp: Option<i64>,
    severity: (u8, &'static str),
    body: &'m [u8],
    error: Option<&'static str>,
    /// Texts that do not stand in the message.
    made: String,
    fields: Vec<(Text<'m>, Text<'m>)>,
}

impl<'m> Reading<'m, '_> {
    fn message(&mut self, message: &'m [u8]) {
        let Some((priority, content)) = priority(message) else {
            if !self.dated(message) {
                self.error = Some("it begins with neither a priority nor a timestamp");
            }
            return;
        };
        let (severity, facility) = names::of_priority(priority);
        self.severity = severity;
        self.fields.push((Text::Plain("syslog.facility"), Text::Plain(facility)));
        self.body = content;
        let modern = content.strip_prefix(b"1 ").is_some_and(|header| self.modern(header));
        if !modern && !self.dated(content) {
            self.undated(content);
        }
    }

    /// Reads what follows the version of RFC 5424. Says whether it is that.
    fn modern(&mut self, content: &'m [u8]) -> bool {
        let mut rest = Some(content);
        let mut field = || {
            let text = rest?;
            let end = memchr::memchr(b' ', text).unwrap_or(text.len());
            rest = text.get(end + 1..);
            Some(&text[..end])
        };
        let (Some(timestamp), Some(host), Some(app), Some(process), Some(id)) =
            (field(), field(), field(), field(), field())
        else {
            return false;
        };
        let dated = timestamp.len() >= 10 && timestamp[..4].iter().all(u8::is_ascii_digit) && timestamp[4] == b'-';
        if timestamp != b"-" && !dated {
            return false;
        }
        self.timestamp = time::iso(timestamp, self.clock);
        if dated && self.timestamp.is_none() {
            self.field("syslog.timestamp", timestamp);
        }
        for (key, value) in
            [("syslog.hostname", host), ("syslog.app_name", app), ("syslog.proc_id", process), ("syslog.msg_id", id)]
        {
            if value != b"-" && !value.is_empty() {
                self.field(key, value);
            }
        }
        self.tail(rest.unwrap_or_default());
        true
    }

    /// Reads structured data and the message after it.
    fn tail(&mut self, tail: &'m [u8]) {
        let after = match tail {
            [b'-'] => b"",
            [b'-', b' ', after @ ..] => after,
            [b'[', ..] => {
                let header = self.fields.len();
                match self.structured(tail) {
                    Ok(after) => after.strip_prefix(b" ").unwrap_or(after),
                    Err(reason) => {
                        self.fields.truncate(header);
                        self.error = Some(reason);
                        tail
                    }
                }
            }
            // Some senders leave structured data out.
            tail => tail,
        };
        self.body = after.strip_prefix(MARK).unwrap_or(after);
    }

    fn field(&mut self, key: &'static str, value: &'m [u8]) {
        let value = self.text(value);
        self.fields.push((Text::Plain(key), value));
    }

    /// Bytes of the message as text.
    fn text(&mut self, bytes: &'m [u8]) -> Text<'m> {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Text::Plain(text),
            Err(_) => {
                let start = self.made.len();
                self.made.push_str(&String::from_utf8_lossy(bytes));
                Text::Made(start..self.made.len())
            }
        }
    }
}

/// The priority that `message` begins with, 0 to 191, and what follows it.
fn priority(message: &[u8]) -> Option<(u8, &[u8])> {
    let digits = message.strip_prefix(b"<")?;
    let end = digits.iter().take(4).position(|&byte| byte == b'>')?;
    let digits_are_digits = end > 0 && digits[..end].iter().all(u8::is_ascii_digit);
    let number = digits[..end].iter().fold(0, |number: u32, digit| number * 10 + u32::from(digit.wrapping_sub(b'0')));
    (digits_are_digits && number < 192).then_some((number as u8, &digits[end + 1..]))
}
