//! A MessagePack value as JSON text.
//!
//! Texts and bytes that are not UTF-8 have U+FFFD for what is not; a number that JSON does not have is `null`; an
//! extension is its bytes in hexadecimal digits, as a text.

use super::msgpack::{Malformed, Reader, Value};

/// A text is written in pieces of so many bytes, for escapes can make six of each.
const PIECE_BYTES: usize = 16 << 10;

/// Why a value is not written to its end.
pub(super) enum Unwritten {
    /// It would have more bytes than it may: what is written is a beginning of it.
    Long,
    Malformed(Malformed),
}

impl From<Malformed> for Unwritten {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Writes the next value, until `out` has more than `end` bytes. It must have been scanned, which bounds its depth.
pub(super) fn write(reader: &mut Reader<'_>, out: &mut Vec<u8>, end: usize) -> Result<(), Unwritten> {
    if out.len() > end {
        return Err(Unwritten::Long);
    }
    match reader.value()? {
        Value::Array(count) => {
            out.push(b'[');
            for index in 0..count {
                separate(out, index);
                write(reader, out, end)?;
            }
            out.push(b']');
        }
        Value::Map(count) => return members(reader, count, out, end),
        Value::Str(bytes) | Value::Bin(bytes) => return write_text(bytes, out, end),
        scalar => write_scalar(scalar, out),
    }
    Ok(())
}

/// Writes the next `count` pairs as an object.
pub(super) fn members(reader: &mut Reader<'_>, count: usize, out: &mut Vec<u8>, end: usize) -> Result<(), Unwritten> {
    out.push(b'{');
    for index in 0..count {
        separate(out, index);
        if out.len() > end {
            return Err(Unwritten::Long);
        }
        match reader.clone().value()? {
            Value::Str(_) | Value::Bin(_) | Value::Ext(..) => write(reader, out, end)?,
            // A name must be a text.
            _ => {
                let mut name = Vec::new();
                write(reader, &mut name, end - out.len())?;
                write_text(&name, out, end)?;
            }
        }
        out.push(b':');
        write(reader, out, end)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a value that has none inside and is not a text.
pub(super) fn write_scalar(value: Value<'_>, out: &mut Vec<u8>) {
    use std::io::Write;

    // Writing to memory does not fail.
    let _ = match value {
        Value::Bool(value) => write!(out, "{value}"),
        Value::Unsigned(number) => write!(out, "{number}"),
        Value::Signed(number) => write!(out, "{number}"),
        Value::F32(number) => serde_json::to_writer(out, &number).map_err(Into::into),
        Value::F64(number) => serde_json::to_writer(out, &number).map_err(Into::into),
        Value::Ext(_, bytes) => {
            out.push(b'"');
            write_hex(bytes, out);
            out.push(b'"');
            Ok(())
        }
        _ => out.write_all(b"null"),
    };
}

pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

fn write_text(bytes: &[u8], out: &mut Vec<u8>, end: usize) -> Result<(), Unwritten> {
    if bytes.len() <= PIECE_BYTES
        && let Ok(text) = simdutf8::basic::from_utf8(bytes)
    {
        // Writing a text to memory does not fail.
        let _ = serde_json::to_writer(out, text);
        return Ok(());
    }
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while !rest.is_empty() {
            if out.len() > end {
                return Err(Unwritten::Long);
            }
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            let start = out.len();
            let _ = serde_json::to_writer(&mut *out, piece);
            // Without the quotes of its own.
            out.pop();
            out.remove(start);
            rest = after;
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
    Ok(())
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::super::msgpack::Scanner;
    use super::*;
    use crate::source::testing::fuzz;

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        assert!(write(&mut Reader::new(bytes), &mut out, 1000).is_ok());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_json() {
        for (bytes, text) in [
            (&b"\xc0"[..], "null"),
            (b"\x93\xc3\xc2\xe0", "[true,false,-32]"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xca\x3d\xcc\xcc\xcd", "0.1"),
            (b"\xcb\x7f\xf8\0\0\0\0\0\0", "null"),
            (b"\xa4a\"\n\xff", "\"a\\\"\\n\u{fffd}\""),
            (b"\x82\xa1a\x80\x01\x90", r#"{"a":{},"1":[]}"#),
            (b"\x81\x91\xa1k\xc4\x01v", r#"{"[\"k\"]":"v"}"#),
            (b"\xd5\x05\x0a\xff", r#""0aff""#),
        ] {
            assert_eq!(json(bytes), text);
        }
    }

    #[test]
    fn a_long_value_stops_a_little_after_its_limit() {
        let bytes = [&b"\xdc\x03\xe8"[..], &[0x01; 1000]].concat();
        let mut out = Vec::new();
        assert!(matches!(write(&mut Reader::new(&bytes), &mut out, 100), Err(Unwritten::Long)));
        assert!((100..110).contains(&out.len()));
    }

    #[test]
    fn a_long_text_is_written_in_pieces_that_do_not_cut_characters() {
        let text = "é\0\"".repeat(20_000) + "x";
        for odd in [&b""[..], b"\xff"] {
            let bytes = [&b"\xdb"[..], &((text.len() + odd.len()) as u32).to_be_bytes(), text.as_bytes(), odd].concat();
            let mut out = Vec::new();
            assert!(write(&mut Reader::new(&bytes), &mut out, usize::MAX).is_ok());
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone() + &String::from_utf8_lossy(odd));
            let mut out = Vec::new();
            assert!(matches!(write(&mut Reader::new(&bytes), &mut out, 1000), Err(Unwritten::Long)));
            assert!(out.len() < 7 * PIECE_BYTES);
        }
    }

    #[test]
    fn whatever_was_scanned_is_written_as_valid_json() {
        fuzz(
            &[b"\x84\xa1a\x93\x01\xca\x3f\xc0\0\0\xc0\x91\xa1k\xc4\x01v\x01\xd5\x05\x0a\xff\xa1\xff\x81\x80\x90"],
            |bytes| {
                if let Ok(Some(_)) = Scanner::default().scan(bytes, 64 << 10) {
                    let mut out = Vec::new();
                    assert!(write(&mut Reader::new(bytes), &mut out, usize::MAX).is_ok());
                    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok(), "{}", out.escape_ascii());
                }
            },
        );
    }
}
