//! `ExportLogsServiceRequest` in Protocol Buffers: `opentelemetry/proto/logs/v1/logs.proto`, whose fields' numbers are
//! what stands before each arrow.

use std::borrow::Cow;

use super::record::{Attributes, LogRecord};
use super::value::{Nested, Value};
use crate::source::Malformed;
use crate::source::net::http::{Refusal, Taker};
use crate::source::protobuf::Message;

/// An `ArrayValue` or a `KeyValueList`: both are messages with nothing but a repeated field 1.
#[derive(Clone, Copy)]
struct List<'a>(&'a [u8]);

type AnyValue<'a> = Value<'a, List<'a>>;

impl<'a> Nested<'a> for List<'a> {
    fn values(self, mut each: impl FnMut(AnyValue<'a>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        messages(self.0, 1, |value| each(any_value(value)?))
    }

    fn pairs(
        self,
        mut each: impl FnMut(Cow<'a, [u8]>, AnyValue<'a>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        messages(self.0, 1, |pair| {
            let (key, value) = key_value(pair)?;
            each(key.into(), value)
        })
    }
}

/// Has `taker` take every record of the request.
pub(super) fn read(request: &[u8], taker: &mut Taker) -> Result<(), Refusal> {
    let mut record = LogRecord::default();
    let (mut resource, mut scope) = (Attributes::default(), Attributes::default());
    messages(request, 1, |of_resource| {
        // What belongs to the resource, or to the scope, may stand behind their records.
        resource.clear();
        messages(of_resource, 1, |message| attributes(message, 1, "", &mut resource))?;
        resource.with(|resource| {
            messages(of_resource, 2, |of_scope| {
                scope.clear();
                messages(of_scope, 1, |message| read_scope(message, &mut scope))?;
                let mut first = true;
                messages(of_scope, 2, |bytes| {
                    if std::mem::take(&mut first) {
                        scope.with(|scope| taker.set_common(resource.iter().chain(scope).copied()));
                    }
                    read_record(bytes, &mut record)?;
                    record.give::<List<'_>>(taker, bytes.len())
                })
            })
        })
    })
}

/// Calls `each` with every field `wanted` of `message`, which hold messages.
fn messages<'a, E: From<Malformed>>(
    message: &'a [u8],
    wanted: u64,
    mut each: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    for field in Message(message) {
        let (number, field) = field?;
        if number == wanted {
            each(field.bytes()?)?;
        }
    }
    Ok(())
}

/// Sets every attribute in field `number` of `message`.
fn attributes<'a>(message: &'a [u8], number: u64, prefix: &str, into: &mut Attributes<'a>) -> Result<(), Malformed> {
    messages(message, number, |pair| {
        let (key, value) = key_value(pair)?;
        into.set(prefix, key.into(), value)
    })
}

fn read_scope<'a>(scope: &'a [u8], common: &mut Attributes<'a>) -> Result<(), Malformed> {
    for (number, key) in [(1, "otel.scope.name"), (2, "otel.scope.version")] {
        messages(scope, number, |text| match text.is_empty() {
            true => Ok(()),
            false => common.set("", key.as_bytes().into(), AnyValue::Text(text.into())),
        })?;
    }
    attributes(scope, 3, "otel.scope.", common)
}

fn read_record<'a>(bytes: &'a [u8], record: &mut LogRecord<'a>) -> Result<(), Malformed> {
    for field in Message(bytes) {
        let (number, field) = field?;
        match number {
            1 => record.time = field.fixed64()?,
            2 => record.severity_number = field.varint()?,
            3 => record.severity_text = field.bytes()?.into(),
            5 => record.set_body(any_value(field.bytes()?)?)?,
            6 => {
                let (key, value) = key_value(field.bytes()?)?;
                record.set(key.into(), value)?;
            }
            7 => record.dropped_attributes = field.varint()?,
            8 => record.flags = field.fixed32()?.into(),
            9 => record.trace_id = field.bytes()?.try_into().ok(),
            10 => record.span_id = field.bytes()?.try_into().ok(),
            11 => record.observed_time = field.fixed64()?,
            12 => record.event_name = field.bytes()?.into(),
            _ => {}
        }
    }
    Ok(())
}

fn key_value(pair: &[u8]) -> Result<(&[u8], AnyValue<'_>), Malformed> {
    let (mut key, mut value) = (&[][..], Value::Empty);
    for field in Message(pair) {
        match field? {
            (1, field) => key = field.bytes()?,
            (2, field) => value = any_value(field.bytes()?)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn any_value(message: &[u8]) -> Result<AnyValue<'_>, Malformed> {
    let mut value = Value::Empty;
    for field in Message(message) {
        let (number, field) = field?;
        value = match number {
            1 => Value::Text(field.bytes()?.into()),
            2 => Value::Bool(field.varint()? != 0),
            3 => Value::Int(field.varint()? as i64),
            4 => Value::Double(f64::from_bits(field.fixed64()?)),
            5 => Value::Array(List(field.bytes()?)),
            6 => Value::Map(List(field.bytes()?)),
            7 => Value::Bytes(field.bytes()?.into()),
            _ => continue,
        };
    }
    Ok(value)
}
