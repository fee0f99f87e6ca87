//! `AnyValue`, whichever way it is written, as text.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::source::Malformed;

/// How deep arrays and lists may be in one another.
const DEPTH_MAX: usize = 32;

/// A value. `N` is an array or a list as it is written.
pub(super) enum Value<'a, N> {
    Empty,
    Text(Cow<'a, [u8]>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Cow<'a, [u8]>),
    Array(N),
    Map(N),
}

/// An array or a list.
pub(super) trait Nested<'a>: Copy {
    /// Calls `each` with every value of an array.
    fn values(self, each: impl FnMut(Value<'a, Self>) -> Result<(), Malformed>) -> Result<(), Malformed>;
    /// Calls `each` with every key and value of a list.
    fn pairs(self, each: impl FnMut(Cow<'a, [u8]>, Value<'a, Self>) -> Result<(), Malformed>) -> Result<(), Malformed>;
}

impl<'a, N: Nested<'a>> Value<'a, N> {
    /// Adds what an attribute or a body has of it to `out`, if that is not a text.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Empty => {}
            Self::Text(text) => out.extend_from_slice(text),
            Self::Bytes(bytes) => base64(bytes, out),
            Self::Double(number) if !number.is_finite() => out.extend_from_slice(not_finite(*number).as_bytes()),
            other => other.json(out, 0)?,
        }
        Ok(())
    }

    fn json(&self, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::fixed("values are in one another too deeply"));
        }
        match self {
            Self::Empty => out.extend_from_slice(b"null"),
            Self::Text(text) => quoted(text, out),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Int(number) => drop(write!(out, "{number}")),
            Self::Double(number) if number.is_finite() => drop(serde_json::to_writer(out, number)),
            Self::Double(number) => quoted(not_finite(*number).as_bytes(), out),
            Self::Bytes(bytes) => {
                out.push(b'"');
                base64(bytes, out);
                out.push(b'"');
            }
            Self::Array(nested) => {
                let mut before = b'[';
                nested.values(|value| {
                    out.push(std::mem::replace(&mut before, b','));
                    value.json(out, depth + 1)
                })?;
                out.extend_from_slice(if before == b'[' { b"[]" } else { b"]" });
            }
            Self::Map(nested) => {
                let mut before = b'{';
                nested.pairs(|key, value| {
                    out.push(std::mem::replace(&mut before, b','));
                    quoted(&key, out);
                    out.push(b':');
                    value.json(out, depth + 1)
                })?;
                out.extend_from_slice(if before == b'{' { b"{}" } else { b"}" });
            }
        }
        Ok(())
    }
}

fn not_finite(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(text));
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
}
