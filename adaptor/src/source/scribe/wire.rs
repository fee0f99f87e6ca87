//! Thrift's binary protocol, as far as Scribe's clients speak it: read from a whole frame without copying, and written.
//!
//! A frame is a big-endian u32, the length of the message behind it, and the message. A message begins with one of two
//! headers, then comes a struct, and nothing after it:
//!
//! - strict: `i32 0x80010000 | type`, `i32` length of the name, name, `i32` sequence number;
//! - old: `i32` length of the name, name, `u8` type, `i32` sequence number.
//!
//! A struct is fields until a zero byte, each `u8 type, i16 id, value`. Numbers are big-endian; strings, lists and the
//! like begin with a count as i32. See `doc/specs/thrift-binary-protocol.md` and `thrift-rpc.md` of Apache Thrift.

use crate::source::exchange::Violation;

/// Types of a message.
pub(super) const CALL: u8 = 1;
pub(super) const REPLY: u8 = 2;
pub(super) const EXCEPTION: u8 = 3;
pub(super) const ONEWAY: u8 = 4;

/// Types of a value.
pub(super) mod kind {
    pub(crate) const STOP: u8 = 0;
    pub(crate) const BOOL: u8 = 2;
    pub(crate) const BYTE: u8 = 3;
    pub(crate) const DOUBLE: u8 = 4;
    pub(crate) const I16: u8 = 6;
    pub(crate) const I32: u8 = 8;
    pub(crate) const I64: u8 = 10;
    pub(crate) const STRING: u8 = 11;
    pub(crate) const STRUCT: u8 = 12;
    pub(crate) const MAP: u8 = 13;
    pub(crate) const SET: u8 = 14;
    pub(crate) const LIST: u8 = 15;
    pub(crate) const UUID: u8 = 16;
}

/// Codes of a TApplicationException.
pub(super) const UNKNOWN_METHOD: i32 = 1;
pub(super) const INTERNAL_ERROR: i32 = 6;
pub(super) const PROTOCOL_ERROR: i32 = 7;

/// Values inside values, at most.
const DEPTH_MAX: usize = 32;
/// Bytes of a method's name, at most.
const NAME_BYTES_MAX: usize = 128;
const VERSION_MASK: u32 = 0xffff_0000;
const VERSION_1: u32 = 0x8001_0000;

/// Whether `start`, the first bytes of a connection, are of a client that sends without frames.
pub(super) fn is_unframed(start: [u8; 4]) -> bool {
    u32::from_be_bytes(start) & VERSION_MASK == VERSION_1
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// Which of the two headers it is. An answer has the same.
    pub(super) strict: bool,
    pub(super) message: u8,
    pub(super) name: &'a [u8],
    pub(super) sequence: i32,
}

/// Reads values from the bytes of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(|| Violation::new("it is cut short"))?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Moves on by `count` bytes.
    pub(super) fn advance(&mut self, count: usize) -> Result<(), Violation> {
        self.take(count).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| Violation::new("it is cut short"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Violation> {
        self.array().map(|[byte]| byte)
    }

    fn i32(&mut self) -> Result<i32, Violation> {
        self.array().map(i32::from_be_bytes)
    }

    fn count(&mut self) -> Result<usize, Violation> {
        usize::try_from(self.i32()?).map_err(|_| Violation::new("a length is negative"))
    }

    /// A string: any bytes.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.count()?;
        self.take(length)
    }

    pub(super) fn header(&mut self) -> Result<Header<'a>, Violation> {
        let first = self.i32()?;
        let strict = first < 0;
        let (message, length) = match strict {
            true if first as u32 & VERSION_MASK != VERSION_1 => {
                return Err(Violation::new("it is not of version 1 of the binary protocol"));
            }
            true => (first as u8, self.count()?),
            false => (0, first as usize),
        };
        if length > NAME_BYTES_MAX {
            return Err(Violation::new(format!("its method's name has {length} bytes, more than {NAME_BYTES_MAX}")));
        }
        let name = self.take(length)?;
        let message = if strict { message } else { self.byte()? };
        Ok(Header { strict, message, name, sequence: self.i32()? })
    }

    /// The next field of a struct, its type and id; `None` at the struct's end.
    pub(super) fn field(&mut self) -> Result<Option<(u8, i16)>, Violation> {
        match self.byte()? {
            kind::STOP => Ok(None),
            kind => Ok(Some((kind, i16::from_be_bytes(self.array()?)))),
        }
    }

    /// The type of a list's elements, and how many there are.
    pub(super) fn list(&mut self) -> Result<(u8, usize), Violation> {
        Ok((self.byte()?, self.count()?))
    }

    /// Leaves out a value.
    pub(super) fn skip(&mut self, kind: u8) -> Result<(), Violation> {
        self.skip_within(kind, DEPTH_MAX)
    }

    fn skip_within(&mut self, kind: u8, depth: usize) -> Result<(), Violation> {
        if let Some(size) = size_of(kind) {
            return self.take(size).map(drop);
        }
        if kind == kind::STRING {
            return self.string().map(drop);
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Violation::new(format!("it has values more than {DEPTH_MAX} deep")));
        };
        match kind {
            kind::STRUCT => {
                while let Some((kind, _)) = self.field()? {
                    self.skip_within(kind, depth)?;
                }
                Ok(())
            }
            kind::LIST | kind::SET => {
                let (kind, count) = self.list()?;
                self.skip_many(&[kind], count, depth)
            }
            kind::MAP => {
                let kinds = [self.byte()?, self.byte()?];
                let count = self.count()?;
                self.skip_many(&kinds, count, depth)
            }
            _ => Err(Violation::new(format!("it has a value of the unknown type {kind}"))),
        }
    }

    /// Leaves out `count` times a value of each of `kinds`.
    fn skip_many(&mut self, kinds: &[u8], count: usize, depth: usize) -> Result<(), Violation> {
        if let Some(size) = kinds.iter().map(|&kind| size_of(kind)).sum::<Option<usize>>() {
            return self.take(size.saturating_mul(count)).map(drop);
        }
        // Each takes a byte at least, so this ends with the frame.
        for _ in 0..count {
            for &kind in kinds {
                self.skip_within(kind, depth)?;
            }
        }
        Ok(())
    }
}

/// Bytes of a value whose type alone says how many.
fn size_of(kind: u8) -> Option<usize> {
    Some(match kind {
        kind::BOOL | kind::BYTE => 1,
        kind::I16 => 2,
        kind::I32 => 4,
        kind::DOUBLE | kind::I64 => 8,
        kind::UUID => 16,
        _ => return None,
    })
}

/// Writes the answer to a call: its header, the fields that `fields` adds, and the end.
pub(super) fn answer(out: &mut Vec<u8>, call: Header<'_>, message: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    match call.strict {
        true => {
            out.extend((VERSION_1 | u32::from(message)).to_be_bytes());
            string(out, call.name);
        }
        false => {
            string(out, call.name);
            out.push(message);
        }
    }
    out.extend(call.sequence.to_be_bytes());
    fields(out);
    out.push(kind::STOP);
    let length = out.len() - start - 4;
    out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
}

/// Writes a TApplicationException.
pub(super) fn exception(out: &mut Vec<u8>, call: Header<'_>, code: i32, text: &str) {
    answer(out, call, EXCEPTION, |out| {
        field(out, kind::STRING, 1);
        string(out, text.as_bytes());
        field(out, kind::I32, 2);
        out.extend(code.to_be_bytes());
    });
}

/// Begins a field.
pub(super) fn field(out: &mut Vec<u8>, kind: u8, id: i16) {
    out.push(kind);
    out.extend(id.to_be_bytes());
}

pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::fuzz;

    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = [kind::STRUCT, 0, 1].repeat(levels);
        bytes.extend(vec![kind::STOP; levels + 1]);
        bytes
    }

    #[test]
    fn values_of_every_type_are_left_out_whole() {
        for (kind, value) in [
            (kind::BOOL, &b"\x01"[..]),
            (kind::DOUBLE, &[7; 8]),
            (kind::UUID, &[7; 16]),
            (kind::STRING, b"\0\0\0\x02ab"),
            (kind::STRUCT, b"\x0b\0\x01\0\0\0\x01x\x06\0\x02\0\0\0"),
            (kind::LIST, b"\x0b\0\0\0\x02\0\0\0\x01x\0\0\0\0"),
            (kind::SET, b"\x08\0\0\0\x02\0\0\0\x01\0\0\0\x02"),
            (kind::MAP, b"\x0b\x0a\0\0\0\x01\0\0\0\x01k12345678"),
            (kind::MAP, b"\0\0\0\0\0\0"),
        ] {
            let bytes = [value, b"after"].concat();
            let mut reader = Reader::new(&bytes);
            reader.skip(kind).unwrap();
            assert_eq!(reader.bytes, b"after", "type {kind}");
            for end in 0..value.len() {
                assert!(Reader::new(&value[..end]).skip(kind).is_err(), "type {kind} cut at {end}");
            }
        }
    }

    #[test]
    fn counts_that_are_negative_or_larger_than_the_frame_and_deep_values_are_refused_at_once() {
        for (kind, value) in [
            (kind::STRING, &b"\xff\xff\xff\xffx"[..]),
            (kind::STRING, b"\x7f\xff\xff\xffx"),
            (kind::LIST, b"\x0a\x7f\xff\xff\xffx"),
            (kind::LIST, b"\x0c\x7f\xff\xff\xff\0\0\0"),
            (kind::LIST, b"\0\x7f\xff\xff\xff\0\0\0"),
            (kind::MAP, b"\x08\x08\x7f\xff\xff\xffx"),
            (99, b"xxxxxxxxx"),
        ] {
            assert!(Reader::new(value).skip(kind).is_err(), "{}", value.escape_ascii());
        }
        assert!(Reader::new(&nested(DEPTH_MAX - 1)).skip(kind::STRUCT).is_ok());
        assert!(Reader::new(&nested(DEPTH_MAX)).skip(kind::STRUCT).is_err());
    }

    #[test]
    fn a_header_is_read_in_both_styles_and_answered_in_its_own() {
        let old = b"\0\0\0\x03Log\x01\0\0\0\x09";
        let strict = b"\x80\x01\0\x01\0\0\0\x03Log\0\0\0\x09";
        for (bytes, is_strict, reply) in [
            (&old[..], false, &b"\0\0\0\x0d\0\0\0\x03Log\x02\0\0\0\x09\0"[..]),
            (&strict[..], true, b"\0\0\0\x10\x80\x01\0\x02\0\0\0\x03Log\0\0\0\x09\0"),
        ] {
            let header = Reader::new(bytes).header().unwrap();
            assert_eq!(header, Header { strict: is_strict, message: CALL, name: b"Log", sequence: 9 });
            let mut out = Vec::new();
            answer(&mut out, header, REPLY, |_| {});
            assert_eq!(out, reply);
        }
        for bytes in
            [&b"\x80\x02\0\x01\0\0\0\x03Log\0\0\0\x09"[..], b"\0\0\x01\0Log\x01\0\0\0\x09", b"\0\0\0\x03Lo", b""]
        {
            assert!(Reader::new(bytes).header().is_err());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let corpus: [&[u8]; 3] = [
            &nested(5),
            b"\x0d\0\x02\x0b\x0a\0\0\0\x01\0\0\0\x01k12345678\0",
            b"\x80\x01\0\x01\0\0\0\x03Log\0\0\0\x09\0",
        ];
        fuzz(&corpus, |bytes| {
            let _ = Reader::new(bytes).header();
            let _ = Reader::new(bytes).skip(kind::STRUCT);
        });
    }
}
