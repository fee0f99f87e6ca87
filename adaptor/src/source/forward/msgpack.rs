//! MessagePack, read where it lies: nothing is copied, and nothing is trusted before it is there.
//!
//! [`Scanner`] finds where a value ends while it is still coming, without looking twice at what it has seen. [`Reader`]
//! reads values one by one. See the MessagePack specification, `spec.md` in github.com/msgpack/msgpack.

/// Values inside values, at most. Bounds every recursion over what was scanned.
pub(super) const DEPTH_MAX: usize = 32;

/// Why bytes are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it is cut short")]
    Short,
    #[error("it is not MessagePack")]
    Marker,
    #[error("it has values more than {DEPTH_MAX} deep")]
    Deep,
    #[error("it has more than {0} bytes")]
    Large(usize),
}

/// The beginning of a value.
#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    /// Bytes of the head itself.
    length: usize,
    /// Bytes behind it that belong to it: a number, a text.
    data: usize,
    /// Values behind it that are inside.
    inside: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Nil,
    Bool(bool),
    /// The number is in the marker.
    Small(i8),
    Unsigned,
    Signed,
    Float,
    Str,
    Bin,
    Array,
    Map,
    Ext,
}

/// Reads a head from the beginning of `bytes`; `None` where more must come.
fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some((&marker, rest)) = bytes.split_first() else { return Ok(None) };
    // A big-endian length of `size` bytes behind the marker.
    let counted = |size: usize| rest.get(..size).map(|size| size.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)));
    let of = |kind, length: usize, data: u64, inside: u64| Head { kind, length, data: data as usize, inside };
    let text = |kind, size| counted(size).map(|data| of(kind, 1 + size, data, 0));
    let ext = |size| counted(size).map(|data| of(Kind::Ext, 1 + size, data + 1, 0));
    let many = |kind, size, each| counted(size).map(|count| of(kind, 1 + size, 0, count * each));
    let low = |mask: u8| u64::from(marker & mask);
    Ok(match marker {
        0x00..=0x7f | 0xe0..=0xff => Some(of(Kind::Small(marker as i8), 1, 0, 0)),
        0x80..=0x8f => Some(of(Kind::Map, 1, 0, 2 * low(0x0f))),
        0x90..=0x9f => Some(of(Kind::Array, 1, 0, low(0x0f))),
        0xa0..=0xbf => Some(of(Kind::Str, 1, low(0x1f), 0)),
        0xc0 => Some(of(Kind::Nil, 1, 0, 0)),
        0xc1 => return Err(Malformed::Marker),
        0xc2 | 0xc3 => Some(of(Kind::Bool(marker == 0xc3), 1, 0, 0)),
        0xc4..=0xc6 => text(Kind::Bin, 1 << (marker - 0xc4)),
        0xc7..=0xc9 => ext(1 << (marker - 0xc7)),
        0xca | 0xcb => Some(of(Kind::Float, 1, 4 << (marker - 0xca), 0)),
        0xcc..=0xcf => Some(of(Kind::Unsigned, 1, 1 << (marker - 0xcc), 0)),
        0xd0..=0xd3 => Some(of(Kind::Signed, 1, 1 << (marker - 0xd0), 0)),
        0xd4..=0xd8 => Some(of(Kind::Ext, 1, (1 << (marker - 0xd4)) + 1, 0)),
        0xd9..=0xdb => text(Kind::Str, 1 << (marker - 0xd9)),
        0xdc | 0xdd => many(Kind::Array, 2 << (marker - 0xdc), 1),
        0xde | 0xdf => many(Kind::Map, 2 << (marker - 0xde), 2),
    })
}

/// Finds where a value ends.
#[derive(Default)]
pub(super) struct Scanner {
    /// Where the next head is.
    at: usize,
    /// Of every value that is open, how many inside it are to come.
    open: Vec<u64>,
}

impl Scanner {
    /// The length of the value at the beginning of `bytes`, or `None` where it is not whole. The next call must show the
    /// same bytes and may show more; once there is a length, it is the answer until [`Scanner::reset`].
    ///
    /// # Errors
    /// [`Malformed`], as soon as it is certain: of a value that claims more than `bytes_max`, with its claim.
    pub(super) fn scan(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Malformed> {
        while self.at == 0 || !self.open.is_empty() {
            let Some(head) = head(bytes.get(self.at..).unwrap_or_default())? else { return Ok(None) };
            if let Some(left) = self.open.last_mut() {
                *left -= 1;
            }
            self.at = self.at.saturating_add(head.length).saturating_add(head.data);
            if head.inside > 0 {
                if self.open.len() == DEPTH_MAX {
                    return Err(Malformed::Deep);
                }
                self.open.push(head.inside);
            }
            // Each of those to come has a byte at least.
            let claimed = self.open.iter().fold(self.at as u64, |sum, left| sum.saturating_add(*left));
            if claimed > bytes_max as u64 {
                return Err(Malformed::Large(bytes_max));
            }
            while self.open.last() == Some(&0) {
                self.open.pop();
            }
        }
        Ok((self.at <= bytes.len()).then_some(self.at))
    }

    /// Begins another value.
    pub(super) fn reset(&mut self) {
        self.at = 0;
        self.open.clear();
    }
}

/// A value. Of an array or a map the values inside follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    /// Should be UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// So many values.
    Array(usize),
    /// So many pairs of values.
    Map(usize),
    /// An application's own type, and its bytes.
    Ext(i8, &'a [u8]),
}

/// A value and all that is inside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) value: Value<'a>,
    /// As it came.
    pub(super) bytes: &'a [u8],
}

/// Reads values one after another.
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

    fn head(&mut self) -> Result<(Head, &'a [u8]), Malformed> {
        let head = head(self.bytes)?.ok_or(Malformed::Short)?;
        let (_, rest) = self.bytes.split_at(head.length);
        let (data, rest) = rest.split_at_checked(head.data).ok_or(Malformed::Short)?;
        self.bytes = rest;
        Ok((head, data))
    }

    /// The next value.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let (head, data) = self.head()?;
        let number = || data.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
        Ok(match head.kind {
            Kind::Nil => Value::Nil,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Small(number) => Value::Signed(number.into()),
            Kind::Unsigned => Value::Unsigned(number()),
            Kind::Signed => {
                let unused = 64 - 8 * data.len() as u32;
                Value::Signed((number() << unused) as i64 >> unused)
            }
            Kind::Float if data.len() == 4 => Value::F32(f32::from_bits(number() as u32)),
            Kind::Float => Value::F64(f64::from_bits(number())),
            Kind::Str => Value::Str(data),
            Kind::Bin => Value::Bin(data),
            Kind::Array => Value::Array(head.inside as usize),
            Kind::Map => Value::Map(head.inside as usize / 2),
            Kind::Ext => match data.split_first() {
                Some((kind, data)) => Value::Ext(*kind as i8, data),
                None => return Err(Malformed::Short),
            },
        })
    }

    /// The next value with all that is inside it.
    pub(super) fn item(&mut self) -> Result<Item<'a>, Malformed> {
        let start = self.bytes;
        let value = self.value()?;
        match value {
            Value::Array(count) => self.skip(count).map(drop)?,
            Value::Map(count) => self.skip(2 * count).map(drop)?,
            _ => {}
        }
        Ok(Item { value, bytes: &start[..start.len() - self.bytes.len()] })
    }

    /// Leaves out the next `count` values, with all that is inside them, and returns their bytes.
    pub(super) fn skip(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let start = self.bytes;
        let mut left = count as u64;
        while left > 0 {
            let (head, _) = self.head()?;
            left = left - 1 + head.inside;
        }
        Ok(&start[..start.len() - self.bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{every_split, fuzz};

    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = vec![0x91; levels];
        bytes.push(0xc0);
        bytes
    }

    /// One of every kind of head.
    const ALL: &[u8] =
        b"\xdc\0\x1c\x07\xe0\xc0\xc2\xc3\xcc\xff\xcd\x01\0\xce\0\x01\0\0\xcf\xff\xff\xff\xff\xff\xff\xff\xff\
        \xd0\x80\xd1\x80\0\xd2\x80\0\0\0\xd3\x80\0\0\0\0\0\0\0\xca\x3f\xc0\0\0\xcb\x3f\xf8\0\0\0\0\0\0\
        \xa1a\xd9\x01b\xda\0\x01c\xdb\0\0\0\x01d\xc4\x01e\xc5\0\x01f\xc6\0\0\0\x01g\x91\x01\x81\x01\x02\xde\0\0\
        \xd4\x05x\xd7\x0012345678\xc7\x02\x06yz";

    #[test]
    fn every_kind_of_value_is_read() {
        use Value::*;
        let mut reader = Reader::new(ALL);
        assert_eq!(reader.value(), Ok(Array(28)));
        let mut values = Vec::new();
        while reader.left() > 0 {
            values.push(reader.value().unwrap());
        }
        let wanted = [
            Signed(7),
            Signed(-32),
            Nil,
            Bool(false),
            Bool(true),
            Unsigned(255),
            Unsigned(256),
            Unsigned(65536),
            Unsigned(u64::MAX),
            Signed(-128),
            Signed(-32768),
            Signed(-(1 << 31)),
            Signed(i64::MIN),
            F32(1.5),
            F64(1.5),
            Str(b"a"),
            Str(b"b"),
            Str(b"c"),
            Str(b"d"),
            Bin(b"e"),
            Bin(b"f"),
            Bin(b"g"),
            Array(1),
            Signed(1),
            Map(1),
            Signed(1),
            Signed(2),
            Map(0),
            Ext(5, b"x"),
            Ext(0, b"12345678"),
            Ext(6, b"yz"),
        ];
        assert_eq!(values, wanted);
    }

    #[test]
    fn the_end_of_a_value_is_found_wherever_the_bytes_are_cut() {
        let corpus: [&[u8]; 6] = [ALL, b"\xc0", b"\x92\xa1t\x80", b"\xdb\0\0\0\x05hello", b"\x90", &nested(DEPTH_MAX)];
        for value in corpus {
            let bytes = [value, ALL].concat();
            every_split(&bytes, |pieces| {
                let (mut scanner, mut seen, mut found) = (Scanner::default(), Vec::new(), None);
                for piece in pieces {
                    seen.extend_from_slice(piece);
                    if found.is_none() {
                        found = scanner.scan(&seen, 1000).unwrap();
                        assert_eq!(found.is_some(), seen.len() >= value.len());
                    }
                }
                assert_eq!(found, Some(value.len()));
                assert_eq!(scanner.scan(&bytes, 1000), Ok(Some(value.len())), "the answer stays");
                assert_eq!(Reader::new(&bytes).skip(1), Ok(value));
            });
        }
    }

    #[test]
    fn what_is_too_large_too_deep_or_not_messagepack_is_refused_before_it_is_there() {
        let scan = |bytes: &[u8]| Scanner::default().scan(bytes, 1000);
        for claim in [&b"\xdb\xff\xff\xff\xff"[..], b"\xc6\0\0\x04\0", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"]
        {
            assert_eq!(scan(claim), Err(Malformed::Large(1000)), "{}", claim.escape_ascii());
        }
        assert_eq!(scan(b"\x92\xdc\x01\xff\x01"), Ok(None));
        assert_eq!(scan(b"\x92\xda\x03\xe5"), Err(Malformed::Large(1000)));
        assert_eq!(scan(&nested(DEPTH_MAX + 1)), Err(Malformed::Deep));
        assert_eq!(scan(b"\x92\xc0\xc1"), Err(Malformed::Marker));
    }

    #[test]
    fn scanner_and_reader_agree_on_any_bytes() {
        let corpus: [&[u8]; 3] = [ALL, b"\x93\xa3tag\xd7\x0012345678\x81\xa3log\xa2hi", &nested(5)];
        fuzz(&corpus, |bytes| {
            let (scanned, skipped) = (Scanner::default().scan(bytes, 64 << 10), Reader::new(bytes).skip(1));
            if let Ok(Some(length)) = scanned {
                assert_eq!(skipped, Ok(&bytes[..length]));
            }
            let mut reader = Reader::new(bytes);
            while reader.value().is_ok() {}
        });
    }
}
