//! Loki's push: `POST /loki/api/v1/push`, as Protocol Buffers in Snappy or as JSON.
//! <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>
//!
//! The labels of a stream and the structured metadata of an entry become attributes. The category is the first label of
//! `service_name`, `app` and `job`, or else the source's.

use std::borrow::Cow;

use hyper::header::CONTENT_ENCODING;
use hyper::{Method, Response, StatusCode};
use logboom_wire::Record;
use logboom_wire::decompress::Compression;
use serde_json::value::RawValue;

use super::Shared;
use super::document::{Pairs, set};
use crate::source::Malformed;
use crate::source::json::{all, elements, members, parse, text, values};
use crate::source::net::http::{Answer, Ask, Refusal, Taker, empty, media_type, text as text_answer};
use crate::source::protobuf::Message;

/// Labels that name a category, the best first.
const CATEGORIES: [&str; 3] = ["service_name", "app", "job"];

pub(super) async fn answer(shared: &Shared, ask: &mut Ask) -> Result<Response<Answer>, Refusal> {
    let answered = match ask.head.uri.path() {
        "/ready" => return Ok(text_answer(StatusCode::OK, "text/plain", "ready\n")),
        "/loki/api/v1/push" => stored(shared, ask).await,
        _ => Err(Refusal::NotFound),
    };
    if answered.is_err() {
        ask.discard().await;
    }
    answered
}

/// As Loki says it.
pub(super) fn refused(refusal: &Refusal) -> Response<Answer> {
    refusal.on(text_answer(refusal.status(), "text/plain; charset=utf-8", format!("{refusal}\n")))
}

async fn stored(shared: &Shared, ask: &mut Ask) -> Result<Response<Answer>, Refusal> {
    shared.admit(ask, Method::POST, "POST")?;
    let mut taker = Taker::new(&shared.inlet);
    match &*media_type(&ask.head.headers) {
        "application/json" => {
            let body = ask.body().await?;
            read_json(&body, &mut taker)?;
        }
        "application/x-protobuf" => {
            // It is compressed in any case; few say so.
            let body = match ask.head.headers.contains_key(CONTENT_ENCODING) {
                true => ask.body().await?,
                false => {
                    let body = ask.raw_body().await?;
                    ask.decompressed(Compression::Snappy, &body).await?
                }
            };
            read_proto(&body, &mut taker)?;
        }
        _ => return Err(Refusal::MediaType("application/x-protobuf or application/json")),
    }
    taker.store(&shared.inlet, ask).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Has `taker` take every entry of a `PushRequest`; the numbers are those of `pkg/push/push.proto`.
pub(super) fn read_proto(request: &[u8], taker: &mut Taker) -> Result<(), Refusal> {
    for stream in Message(request) {
        let (1, stream) = stream? else { continue };
        let stream = stream.bytes()?;
        let mut stream_labels = Vec::new();
        for field in Message(stream) {
            if let (1, text) = field? {
                stream_labels = labels(utf8(text.bytes()?)?)?;
            }
        }
        let mut entries = Entries { labels: &stream_labels, begun: false };
        for field in Message(stream) {
            let (2, entry) = field? else { continue };
            let bytes = entry.bytes()?;
            let (mut time, mut line, mut metadata) = (0, &[][..], Vec::new());
            for field in Message(bytes) {
                match field? {
                    (1, timestamp) => time = nanos(timestamp.bytes()?)?,
                    (2, text) => line = text.bytes()?,
                    (3, pair) => {
                        let (name, value) = label_pair(pair.bytes()?)?;
                        set(&mut metadata, name, value)?;
                    }
                    _ => {}
                }
            }
            entries.take(taker, time, line, &metadata, bytes.len())?;
        }
    }
    Ok(())
}

fn label_pair(pair: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), Malformed> {
    let (mut name, mut value) = ("", "");
    for field in Message(pair) {
        match field? {
            (1, text) => name = utf8(text.bytes()?)?,
            (2, text) => value = utf8(text.bytes()?)?,
            _ => {}
        }
    }
    Ok((name.into(), value.into()))
}

/// A `google.protobuf.Timestamp` in ns since 1970.
fn nanos(timestamp: &[u8]) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Message(timestamp) {
        match field? {
            (1, number) => seconds = number.varint()? as i64,
            (2, number) => nanos = number.varint()? as i64,
            _ => {}
        }
    }
    Ok(seconds.checked_mul(1_000_000_000).and_then(|time| time.checked_add(nanos)).unwrap_or_default())
}

fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Malformed::fixed("a label is not UTF-8"))
}

/// Has `taker` take every entry of a request in JSON.
pub(super) fn read_json(request: &[u8], taker: &mut Taker) -> Result<(), Refusal> {
    let [streams] = values(parse(request)?, ["streams"])?;
    let Some(streams) = streams else { return Err(Refusal::Malformed("the request has no `streams`".into())) };
    elements(streams, |stream| {
        let [stream, entries] = values(stream, ["stream", "values"])?;
        let stream_labels = stream.map_or(Ok(Vec::new()), pairs)?;
        let mut of_stream = Entries { labels: &stream_labels, begun: false };
        all(entries, |entry| {
            let (mut parts, mut count) = ([None; 3], 0);
            elements(entry, |part: &RawValue| {
                *parts.get_mut(count).ok_or(Malformed::fixed("an entry has more than three parts"))? = Some(part);
                count += 1;
                Ok::<_, Malformed>(())
            })?;
            let [Some(time), Some(line), metadata] = parts else {
                return Err(Refusal::Malformed("an entry has no time or no line".into()));
            };
            let time = text(Some(time)).map_err(Malformed::from)?.and_then(|time| time.parse().ok());
            let time = time.ok_or(Malformed::fixed("a time is not a text of nanoseconds"))?;
            let line = text(Some(line)).map_err(Malformed::from)?.unwrap_or_default();
            let metadata = metadata.map_or(Ok(Vec::new()), pairs)?;
            of_stream.take(taker, time, line.as_bytes(), &metadata, entry.get().len())
        })
    })
}

fn pairs(object: &RawValue) -> Result<Pairs<'_>, Malformed> {
    let mut pairs = Vec::new();
    members(object, |(name, value)| set(&mut pairs, name, text(Some(value))?.unwrap_or_default()))?;
    Ok(pairs)
}

/// The entries of a stream.
struct Entries<'a> {
    labels: &'a Pairs<'a>,
    begun: bool,
}

impl Entries<'_> {
    fn take(
        &mut self,
        taker: &mut Taker,
        time: i64,
        line: &[u8],
        metadata: &Pairs<'_>,
        bytes: usize,
    ) -> Result<(), Refusal> {
        if !std::mem::replace(&mut self.begun, true) {
            taker.set_common(self.labels.iter().map(|(name, value)| (&**name, &**value)));
        }
        let attributes: Vec<(&str, &str)> = metadata.iter().map(|(name, value)| (&**name, &**value)).collect();
        let record = Record {
            timestamp: Some(time).filter(|time| *time != 0),
            observed: taker.observed,
            body: line,
            attributes: &attributes,
            ..Record::default()
        };
        let named = |wanted: &&str| {
            let found = self.labels.iter().find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| &**value)
        };
        taker.take(CATEGORIES.iter().find_map(named), &record, bytes).map(drop)
    }
}

/// Reads labels as Prometheus writes them: `{app="web", path="a\"b"}`.
pub(super) fn labels(text: &str) -> Result<Pairs<'_>, Malformed> {
    const WRONG: Malformed = Malformed::fixed("the labels are not of the form {name=\"value\", …}");
    let mut rest = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or(WRONG)?.trim();
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(WRONG)?;
        let name = name.trim();
        if name.is_empty() || name.contains(['"', ',', '{', '}']) {
            return Err(WRONG);
        }
        let (value, after) = quoted(after.trim_start()).ok_or(WRONG)?;
        set(&mut labels, name.into(), value)?;
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(WRONG),
        }
    }
    Ok(labels)
}

/// The text in quotes that `text` begins with, as Go quotes it, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    if let Some(rest) = text.strip_prefix('`') {
        return rest.split_once('`').map(|(value, rest)| (value.into(), rest));
    }
    let inner = text.strip_prefix('"')?;
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        let next = at + memchr::memchr2(b'"', b'\\', &inner.as_bytes()[at..])?;
        if inner.as_bytes()[next] == b'"' {
            let rest = &inner[next + 1..];
            if value.is_empty() {
                return Some((inner[at..next].into(), rest));
            }
            value.extend_from_slice(&inner.as_bytes()[at..next]);
            return Some((String::from_utf8_lossy(&value).into_owned().into(), rest));
        }
        value.extend_from_slice(&inner.as_bytes()[at..next]);
        let digits = |from: usize, count: usize, radix| u32::from_str_radix(inner.get(from..from + count)?, radix).ok();
        let escape = *inner.as_bytes().get(next + 1)?;
        at = next + 2;
        let byte = match escape {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'"' | b'\'' => escape,
            b'x' => {
                at += 2;
                digits(next + 2, 2, 16)? as u8
            }
            b'0'..=b'7' => {
                at += 2;
                u8::try_from(digits(next + 1, 3, 8)?).ok()?
            }
            b'u' | b'U' => {
                let count = if escape == b'u' { 4 } else { 8 };
                at += count;
                let c = char::from_u32(digits(next + 2, count, 16)?)?;
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        value.push(byte);
    }
}
