//! One record as one line of JSON.
//!
//! A line has the columns of [`file_schema`](crate::schema::file_schema) by their names and in their order; a column
//! that the record has not is left out. Instants are RFC 3339 in UTC with microseconds, attributes an object, `body_bytes`
//! base64 and only there if the body is not UTF-8, whole numbers as they are. Text is UTF-8; what JSON wants escaped is,
//! and nothing else.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BinaryArray, Int32Array, RecordBatch, StringArray, StringViewArray};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::Offset;

use crate::Error;
use crate::parquet::{Attributes, Labels};

const MICROS: i64 = 1_000_000;

/// The columns of a batch of [`file_schema`](crate::schema::file_schema), to be written row by row.
pub struct Lines<'a> {
    timestamp: &'a [i64],
    observed: &'a [i64],
    category: TextsOf<'a>,
    host: TextsOf<'a>,
    source: TextsOf<'a>,
    severity_number: &'a Int32Array,
    severity_text: &'a StringArray,
    body: &'a StringViewArray,
    body_bytes: &'a BinaryArray,
    attributes: Attributes<'a>,
    trace_id: &'a StringArray,
    span_id: &'a StringArray,
    stream: TextsOf<'a>,
    seq: &'a [i64],
}

/// The second that was written last: records mostly come many to the second.
#[derive(Default)]
pub struct Clock {
    second: Option<i64>,
    text: [u8; 19],
}

/// A column of [`Labels`].
struct TextsOf<'a> {
    keys: &'a [i32],
    texts: &'a StringArray,
}

impl TextsOf<'_> {
    fn value(&self, row: usize) -> &str {
        self.texts.value(self.keys[row] as usize)
    }
}

impl<'a> Lines<'a> {
    /// Of a batch in the form of [`given`](crate::parquet::given()).
    pub fn of(rows: &'a RecordBatch) -> Self {
        let text = |name: &str| rows[name].as_string::<i32>();
        let labels = |name: &str| {
            let labels: &Labels = rows[name].as_dictionary();
            TextsOf { keys: labels.keys().values(), texts: labels.values().as_string() }
        };
        Self {
            timestamp: rows["timestamp"].as_primitive::<TimestampMicrosecondType>().values(),
            observed: rows["observed_timestamp"].as_primitive::<TimestampMicrosecondType>().values(),
            category: labels("category"),
            host: labels("host"),
            source: labels("source"),
            severity_number: rows["severity_number"].as_primitive::<Int32Type>(),
            severity_text: text("severity_text"),
            body: rows["body"].as_string_view(),
            body_bytes: rows["body_bytes"].as_binary::<i32>(),
            attributes: Attributes::of(rows),
            trace_id: text("trace_id"),
            span_id: text("span_id"),
            stream: labels("stream"),
            seq: rows["seq"].as_primitive::<Int64Type>().values(),
        }
    }

    /// Appends row `row` as a line, its line feed included.
    ///
    /// # Errors
    /// [`Error::Encoding`] if a time is not in the years 0 to 9999, which have no text in RFC 3339.
    pub fn write(&self, row: usize, clock: &mut Clock, out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend_from_slice(b"{\"timestamp\":");
        clock.write(self.timestamp[row], out)?;
        out.extend_from_slice(b",\"observed_timestamp\":");
        clock.write(self.observed[row], out)?;
        out.extend_from_slice(b",\"category\":");
        push_text(self.category.value(row), out);
        out.extend_from_slice(b",\"host\":");
        push_text(self.host.value(row), out);
        out.extend_from_slice(b",\"source\":");
        push_text(self.source.value(row), out);
        if self.severity_number.is_valid(row) {
            out.extend_from_slice(b",\"severity_number\":");
            push_number(i64::from(self.severity_number.value(row)), out);
        }
        push_optional(b",\"severity_text\":", self.severity_text, row, out);
        out.extend_from_slice(b",\"body\":");
        push_text(self.body.value(row), out);
        if self.body_bytes.is_valid(row) {
            out.extend_from_slice(b",\"body_bytes\":\"");
            push_base64(self.body_bytes.value(row), out);
            out.push(b'"');
        }
        if !self.attributes.is_null(row) {
            out.extend_from_slice(b",\"attributes\":");
            self.push_attributes(row, out);
        }
        push_optional(b",\"trace_id\":", self.trace_id, row, out);
        push_optional(b",\"span_id\":", self.span_id, row, out);
        out.extend_from_slice(b",\"stream\":");
        push_text(self.stream.value(row), out);
        out.extend_from_slice(b",\"seq\":");
        push_number(self.seq[row], out);
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn push_attributes(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (place, (key, value)) in self.attributes.entries(row).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            push_text(key, out);
            out.push(b':');
            match value {
                Some(value) => push_text(value, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    }
}

impl Clock {
    /// `"2026-01-02T03:04:05.123456Z"`, of microseconds since 1970.
    fn write(&mut self, micros: i64, out: &mut Vec<u8>) -> Result<(), Error> {
        let (second, fraction) = (micros.div_euclid(MICROS), micros.rem_euclid(MICROS));
        if self.second != Some(second) {
            self.text = second_text(second).ok_or_else(|| {
                Error::encoding(format!("a record's time, {micros} µs since 1970, is beyond year 9999"))
            })?;
            self.second = Some(second);
        }
        let mut text = *b"\"0000-00-00T00:00:00.000000Z\"";
        text[1..20].copy_from_slice(&self.text);
        put_digits(&mut text[21..27], fraction);
        out.extend_from_slice(&text);
        Ok(())
    }
}

fn second_text(second: i64) -> Option<[u8; 19]> {
    let time = Offset::UTC.to_datetime(Timestamp::from_second(second).ok()?);
    let year = u16::try_from(time.year()).ok()?;
    let mut text = *b"0000-00-00T00:00:00";
    put_digits(&mut text[0..4], i64::from(year));
    let parts = [time.month(), time.day(), time.hour(), time.minute(), time.second()];
    for (at, part) in (5..).step_by(3).zip(parts) {
        put_digits(&mut text[at..at + 2], i64::from(part));
    }
    Some(text)
}

/// The last digits of a number that is not negative.
fn put_digits(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn push_number(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_optional(name: &[u8], texts: &StringArray, row: usize, out: &mut Vec<u8>) {
    if texts.is_valid(row) {
        out.extend_from_slice(name);
        push_text(texts.value(row), out);
    }
}

fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("four for every three bytes");
    debug_assert_eq!(start + written, out.len());
}

/// A JSON string (RFC 8259, section 7).
fn push_text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    loop {
        let clean = clean_prefix(rest);
        out.extend_from_slice(&rest[..clean]);
        let Some(&byte) = rest.get(clean) else { break };
        push_escaped(byte, out);
        rest = &rest[clean + 1..];
    }
    out.push(b'"');
}

/// How many bytes at the front stand as they are.
fn clean_prefix(bytes: &[u8]) -> usize {
    // A block at a time without a branch on its bytes, which is what the compiler makes vector instructions of.
    const BLOCK: usize = 32;
    let clean_blocks = bytes
        .chunks_exact(BLOCK)
        .take_while(|block| !block.iter().fold(false, |escape, byte| escape | must_escape(*byte)))
        .count();
    let start = clean_blocks * BLOCK;
    bytes[start..].iter().position(|byte| must_escape(*byte)).map_or(bytes.len(), |at| start + at)
}

fn must_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(micros: i64) -> Option<String> {
        let mut out = Vec::new();
        Clock::default().write(micros, &mut out).ok()?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_instant_is_rfc_3339_with_microseconds() {
        for (micros, text) in [
            (0, "\"1970-01-01T00:00:00.000000Z\""),
            (-1, "\"1969-12-31T23:59:59.999999Z\""),
            (1_767_225_600_000_001, "\"2026-01-01T00:00:00.000001Z\""),
            (i64::MAX / 1000, "\"2262-04-11T23:47:16.854775Z\""),
            (i64::MIN / 1000 - 1, "\"1677-09-21T00:12:43.145224Z\""),
            (253_402_207_200_999_999, "\"9999-12-30T22:00:00.999999Z\""),
            (-62_167_219_200_000_000, "\"0000-01-01T00:00:00.000000Z\""),
        ] {
            assert_eq!(instant(micros).as_deref(), Some(text), "{micros}");
        }
        for micros in [i64::MIN, i64::MAX, -62_167_219_200_000_001] {
            assert_eq!(instant(micros), None);
        }
    }

    #[test]
    fn one_clock_writes_many_seconds() {
        let (mut clock, mut out) = (Clock::default(), Vec::new());
        for micros in [5, 6, 1_000_005, 5] {
            clock.write(micros, &mut out).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"1970-01-01T00:00:00.000005Z\"\"1970-01-01T00:00:00.000006Z\"\
             \"1970-01-01T00:00:01.000005Z\"\"1970-01-01T00:00:00.000005Z\""
        );
    }

    #[test]
    fn every_character_is_read_back_by_another_library_wherever_it_stands() {
        let characters = (0..=0x2fff).chain([0xd7ff, 0xe000, 0xfffd, 0xffff, 0x1_0000, 0x10_ffff]);
        for character in characters.filter_map(char::from_u32) {
            for before in [0, 1, 31, 32, 33] {
                let text = format!("{}{character}{}", "a".repeat(before), "b".repeat(40));
                let mut out = Vec::new();
                push_text(&text, &mut out);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
                assert!(!out.contains(&b'\n'), "a line is one line");
            }
        }
    }
}
