//! Views of JSON: arrays and objects are walked through, never built, so that memory does not depend on what is in them.

use std::borrow::Cow;
use std::fmt::{self, Display};

use memchr::memchr;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Malformed;

/// The value that `bytes` are. All of it is checked to be JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<&RawValue, Malformed> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Malformed::fixed("it is not UTF-8"))?;
    Ok(serde_json::from_str(text)?)
}

/// The value as text; `None` where there is none. A text with an escape is the only value that is copied.
pub(super) fn text(raw: Option<&RawValue>) -> serde_json::Result<Option<Cow<'_, str>>> {
    let Some(raw) = raw.map(RawValue::get) else { return Ok(None) };
    Ok(match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(_) if memchr(b'\\', raw.as_bytes()).is_some() => Some(serde_json::from_str::<String>(raw)?.into()),
        Some(text) => Some(text.into()),
        None if raw == "null" => None,
        None => Some(raw.into()),
    })
}

/// Calls `each` with every member of the object that is all of `text`. Checks it on the way, not before.
///
/// # Errors
/// When it is no such object or `each` fails; in words that say where.
pub(super) fn object<'a, E: Display>(
    text: &'a str,
    each: impl FnMut(Cow<'a, str>, &'a RawValue) -> Result<(), E>,
) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Members(each))?;
    deserializer.end()
}

/// Calls `each` with every value of an array.
pub(super) fn elements<'a, E: From<Malformed>>(
    array: &'a RawValue,
    mut each: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), E> {
    let mut failed = None;
    let each = |value| each(value).map_err(|error| keep(&mut failed, error));
    let walked = serde_json::Deserializer::from_str(array.get()).deserialize_seq(Elements(each));
    ended(failed, walked)
}

/// Calls `each` with every member of an object.
pub(super) fn members<'a, E: From<Malformed>>(
    object: &'a RawValue,
    mut each: impl FnMut((Cow<'a, str>, &'a RawValue)) -> Result<(), E>,
) -> Result<(), E> {
    let mut failed = None;
    let each = |name, value| each((name, value)).map_err(|error| keep(&mut failed, error));
    let walked = self::object(object.get(), each);
    ended(failed, walked)
}

/// Sets aside why a walk ends early.
fn keep<E>(failed: &mut Option<E>, error: E) -> &'static str {
    *failed = Some(error);
    ""
}

fn ended<E: From<Malformed>>(failed: Option<E>, walked: serde_json::Result<()>) -> Result<(), E> {
    match failed {
        Some(error) => Err(error),
        None => walked.map_err(|error| Malformed::from(error).into()),
    }
}

/// The members of `object` with these names. `null` counts as absent.
pub(super) fn values<'a, const N: usize>(
    object: &'a RawValue,
    names: [&str; N],
) -> Result<[Option<&'a RawValue>; N], Malformed> {
    let mut found = [None; N];
    members(object, |(name, value)| {
        if let Some(index) = names.iter().position(|wanted| *wanted == name) {
            found[index] = Some(value).filter(|value| value.get() != "null");
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(found)
}

/// Calls `each` with every element of `array`, if there is one.
pub(super) fn all<'a, E: From<Malformed>>(
    array: Option<&'a RawValue>,
    each: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), E> {
    array.map_or(Ok(()), |array| elements(array, each))
}

struct Elements<F>(F);

impl<'a, F: FnMut(&'a RawValue) -> Result<(), E>, E: Display> Visitor<'a> for Elements<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element::<&'a RawValue>()? {
            self.0(element).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

struct Members<F>(F);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a, F: FnMut(Cow<'a, str>, &'a RawValue) -> Result<(), E>, E: Display> Visitor<'a> for Members<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = object.next_entry::<Key<'a>, &'a RawValue>()? {
            self.0(key, value).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
