//! Views of JSON: arrays and objects are walked through, never built, so that memory does not depend on what is in them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Malformed;
pub(super) use super::line::text;

/// The value that `bytes` are. All of it is checked to be JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<&RawValue, Malformed> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Malformed::fixed("it is not UTF-8"))?;
    serde_json::from_str(text).map_err(|error| Malformed::new(error.to_string()))
}

/// Calls `each` with every value of an array.
pub(super) fn elements<'a, E: From<Malformed>>(
    array: &'a RawValue,
    each: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), E> {
    let mut walk = Walk { each, failed: None };
    let walked = Elements(&mut walk).deserialize(&mut serde_json::Deserializer::from_str(array.get()));
    walk.ended(walked)
}

/// Calls `each` with every member of an object.
pub(super) fn members<'a, E: From<Malformed>>(
    object: &'a RawValue,
    each: impl FnMut((Cow<'a, str>, &'a RawValue)) -> Result<(), E>,
) -> Result<(), E> {
    let mut walk = Walk { each, failed: None };
    let walked = Members(&mut walk).deserialize(&mut serde_json::Deserializer::from_str(object.get()));
    walk.ended(walked)
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

struct Walk<F, E> {
    each: F,
    failed: Option<E>,
}

impl<F, E: From<Malformed>> Walk<F, E> {
    fn ended(self, walked: Result<(), serde_json::Error>) -> Result<(), E> {
        match (self.failed, walked) {
            (Some(error), _) => Err(error),
            (None, walked) => walked.map_err(|error| Malformed::new(error.to_string()).into()),
        }
    }

    fn call<T, D: serde::de::Error>(&mut self, item: T) -> Result<(), D>
    where
        F: FnMut(T) -> Result<(), E>,
    {
        (self.each)(item).map_err(|error| {
            self.failed = Some(error);
            D::custom("")
        })
    }
}

struct Elements<'w, F, E>(&'w mut Walk<F, E>);

impl<'a, F: FnMut(&'a RawValue) -> Result<(), E>, E: From<Malformed>> DeserializeSeed<'a> for Elements<'_, F, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a, F: FnMut(&'a RawValue) -> Result<(), E>, E: From<Malformed>> Visitor<'a> for Elements<'_, F, E> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element::<&'a RawValue>()? {
            self.0.call::<_, A::Error>(element)?;
        }
        Ok(())
    }
}

struct Members<'w, F, E>(&'w mut Walk<F, E>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a, F, E: From<Malformed>> DeserializeSeed<'a> for Members<'_, F, E>
where
    F: FnMut((Cow<'a, str>, &'a RawValue)) -> Result<(), E>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a, F, E: From<Malformed>> Visitor<'a> for Members<'_, F, E>
where
    F: FnMut((Cow<'a, str>, &'a RawValue)) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = object.next_entry::<Key<'a>, &'a RawValue>()? {
            self.0.call::<_, A::Error>((key, value))?;
        }
        Ok(())
    }
}
