//! Reads and writes Protocol Buffers as far as logs need it: <https://protobuf.dev/programming-guides/encoding>.
//!
//! Nothing is copied and nothing is allocated: a message is the sequence of its fields. Groups, which nobody sends, are
//! malformed.

use super::Malformed;

/// The fields of a message, in its order.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(pub(super) &'a [u8]);

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
    Fixed32(u32),
}

const CUT: Malformed = Malformed::fixed("the message is cut");
const WRONG: Malformed = Malformed::fixed("a field is not of its type");

impl<'a> Field<'a> {
    pub(super) fn varint(self) -> Result<u64, Malformed> {
        if let Self::Varint(value) = self { Ok(value) } else { Err(WRONG) }
    }

    pub(super) fn fixed64(self) -> Result<u64, Malformed> {
        if let Self::Fixed64(value) = self { Ok(value) } else { Err(WRONG) }
    }

    pub(super) fn fixed32(self) -> Result<u32, Malformed> {
        if let Self::Fixed32(value) = self { Ok(value) } else { Err(WRONG) }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(value) = self { Ok(value) } else { Err(WRONG) }
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.field();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

impl<'a> Message<'a> {
    fn field(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| CUT)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed::fixed("a field is of a type that does not exist")),
        };
        match tag >> 3 {
            0 => Err(Malformed::fixed("a field has the number 0")),
            number => Ok((number, field)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(*array)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(CUT)
    }
}

/// Adds a field of bytes, a text or a message.
pub(super) fn put_bytes(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put(message, number << 3 | 2);
    put(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

/// Adds a field of an integer.
pub(super) fn put_varint(message: &mut Vec<u8>, number: u64, value: u64) {
    put(message, number << 3);
    put(message, value);
}

fn put(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::fuzz;

    fn fields(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, Malformed> {
        Message(bytes).collect()
    }

    #[test]
    fn fields_come_as_they_were_put_and_as_the_documentation_has_them() {
        assert_eq!(fields(&[0x08, 0x96, 0x01]).unwrap(), [(1, Field::Varint(150))]);
        assert_eq!(fields(b"\x12\x07testing").unwrap(), [(2, Field::Bytes(b"testing"))]);
        let mut message = Vec::new();
        for value in [0, 127, 128, u64::from(u32::MAX), u64::MAX] {
            put_varint(&mut message, 3000, value);
        }
        put_bytes(&mut message, 1, &[7; 300]);
        message.extend_from_slice(&[9, 1, 0, 0, 0, 0, 0, 0, 0, 0x15, 2, 0, 0, 0]);
        let read = fields(&message).unwrap();
        let varints: Vec<_> = read[..5].iter().map(|(number, field)| (*number, field.varint().unwrap())).collect();
        assert_eq!(varints, [0, 127, 128, 0xffff_ffff, u64::MAX].map(|value| (3000, value)));
        assert_eq!(read[5..], [(1, Field::Bytes(&[7; 300])), (1, Field::Fixed64(1)), (2, Field::Fixed32(2))]);
    }

    #[test]
    fn what_is_cut_or_impossible_is_malformed() {
        for bytes in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x12\x07testin",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
            b"\x09\x01",
            b"\x15\x01",
            b"\x0b\x0c",
            b"\x00\x00",
            b"\x0f",
        ] {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        fuzz(&[b"\x12\x07testing\x08\x96\x01\x09\x01\0\0\0\0\0\0\0\x15\x02\0\0\0"], |bytes| drop(fields(bytes)));
    }
}
