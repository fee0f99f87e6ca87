//! `ExportLogsServiceRequest` in JSON: the mapping of Protocol Buffers with ids in hexadecimal, enumerations as numbers, and
//! integers of 64 bits as texts or numbers. <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::record::{Attributes, LogRecord};
use super::value::{Nested, Value};
use crate::source::Malformed;
use crate::source::json::{all, members, parse, text, values};
use crate::source::line::id;
use crate::source::net::http::{Refusal, Taker};

/// The `values` of an `arrayValue` or of a `kvlistValue`.
#[derive(Clone, Copy)]
struct List<'a>(Option<&'a RawValue>);

type AnyValue<'a> = Value<'a, List<'a>>;

impl<'a> Nested<'a> for List<'a> {
    fn values(self, mut each: impl FnMut(AnyValue<'a>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        all(self.0, |value| each(any_value(value)?))
    }

    fn pairs(
        self,
        mut each: impl FnMut(Cow<'a, [u8]>, AnyValue<'a>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        all(self.0, |pair| {
            let (key, value) = key_value(pair)?;
            each(key, value)
        })
    }
}

/// Has `taker` take every record of the request.
pub(super) fn read(request: &[u8], taker: &mut Taker) -> Result<(), Refusal> {
    let mut record = LogRecord::default();
    let (mut resource, mut scope) = (Attributes::default(), Attributes::default());
    let [resource_logs] = values(parse(request)?, ["resourceLogs"])?;
    all(resource_logs, |of_resource| {
        let [object, scope_logs] = values(of_resource, ["resource", "scopeLogs"])?;
        resource.clear();
        if let Some(object) = object {
            let [attributes] = values(object, ["attributes"])?;
            set_all(attributes, "", &mut resource)?;
        }
        resource.with(|resource| {
            all(scope_logs, |of_scope| {
                let [object, log_records] = values(of_scope, ["scope", "logRecords"])?;
                scope.clear();
                if let Some(object) = object {
                    read_scope(object, &mut scope)?;
                }
                let mut first = true;
                all(log_records, |raw| {
                    if std::mem::take(&mut first) {
                        scope.with(|scope| taker.set_common(resource.iter().chain(scope).copied()));
                    }
                    read_record(raw, &mut record)?;
                    record.give::<List<'_>>(taker, raw.get().len())
                })
            })
        })
    })
}

fn read_scope<'a>(object: &'a RawValue, scope: &mut Attributes<'a>) -> Result<(), Malformed> {
    let [name, version, attributes] = values(object, ["name", "version", "attributes"])?;
    for (key, value) in [("otel.scope.name", name), ("otel.scope.version", version)] {
        if let Some(value) = value.map(string).transpose()?.filter(|value| !value.is_empty()) {
            scope.set("", key.as_bytes().into(), AnyValue::Text(value))?;
        }
    }
    set_all(attributes, "otel.scope.", scope)
}

fn set_all<'a>(list: Option<&'a RawValue>, prefix: &str, into: &mut Attributes<'a>) -> Result<(), Malformed> {
    all(list, |pair| {
        let (key, value) = key_value(pair)?;
        into.set(prefix, key, value)
    })
}

fn read_record<'a>(object: &'a RawValue, record: &mut LogRecord<'a>) -> Result<(), Malformed> {
    members(object, |(name, raw)| {
        if raw.get() == "null" {
            return Ok(());
        }
        match &*name {
            "timeUnixNano" => record.time = number(raw)?,
            "observedTimeUnixNano" => record.observed_time = number(raw)?,
            "severityNumber" => record.severity_number = number(raw)?,
            "severityText" => record.severity_text = string(raw)?,
            "body" => record.set_body(any_value(raw)?)?,
            "attributes" => all(Some(raw), |pair| {
                let (key, value) = key_value(pair)?;
                record.set(key, value)
            })?,
            "droppedAttributesCount" => record.dropped_attributes = number(raw)?,
            "flags" => record.flags = number(raw)?,
            "traceId" => record.trace_id = text(Some(raw))?.and_then(|text| id(&text)),
            "spanId" => record.span_id = text(Some(raw))?.and_then(|text| id(&text)),
            "eventName" => record.event_name = string(raw)?,
            _ => {}
        }
        Ok(())
    })
}

fn key_value(pair: &RawValue) -> Result<(Cow<'_, [u8]>, AnyValue<'_>), Malformed> {
    let [key, value] = values(pair, ["key", "value"])?;
    let key = key.map(string).transpose()?.unwrap_or_default();
    Ok((key, value.map_or(Ok(Value::Empty), any_value)?))
}

fn any_value(object: &RawValue) -> Result<AnyValue<'_>, Malformed> {
    let mut found = Value::Empty;
    members(object, |(name, raw)| {
        if raw.get() == "null" {
            return Ok(());
        }
        found = match &*name {
            "stringValue" => Value::Text(string(raw)?),
            "boolValue" => Value::Bool(parsed(raw)?),
            "intValue" => Value::Int(parsed(raw)?),
            // `parse` takes "NaN", "Infinity" and "-Infinity" too.
            "doubleValue" => Value::Double(parsed(raw)?),
            "bytesValue" => {
                let decoded = STANDARD.decode(&*string(raw)?);
                Value::Bytes(decoded.map_err(|_| Malformed::fixed("a `bytesValue` is not base64"))?.into())
            }
            "arrayValue" => Value::Array(List(values(raw, ["values"])?[0])),
            "kvlistValue" => Value::Map(List(values(raw, ["values"])?[0])),
            _ => return Ok(()),
        };
        Ok::<_, Malformed>(())
    })?;
    Ok(found)
}

fn string(raw: &RawValue) -> Result<Cow<'_, [u8]>, Malformed> {
    match text(Some(raw))? {
        Some(text) if raw.get().starts_with('"') => Ok(match text {
            Cow::Borrowed(text) => text.as_bytes().into(),
            Cow::Owned(text) => text.into_bytes().into(),
        }),
        _ => Err(Malformed::fixed("a text is not a text")),
    }
}

/// A number, or a text that is one.
fn parsed<T: std::str::FromStr>(raw: &RawValue) -> Result<T, Malformed> {
    let text = text(Some(raw))?.unwrap_or_default();
    text.parse().map_err(|_| Malformed::fixed("a number is not a number, or out of its range"))
}

fn number(raw: &RawValue) -> Result<u64, Malformed> {
    parsed(raw)
}
