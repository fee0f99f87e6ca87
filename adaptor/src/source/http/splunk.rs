//! Splunk's HTTP Event Collector. <https://docs.splunk.com/Documentation/Splunk/latest/Data/HECRESTendpoints>
//!
//! | member | becomes |
//! |---|---|
//! | `event` | the body: a text as it is, anything else as its JSON |
//! | `time` | the timestamp, in seconds |
//! | `host`, `source`, `sourcetype`, `index` | attributes `host.name`, `com.splunk.source`, `com.splunk.sourcetype`, `com.splunk.index` |
//! | `fields` | attributes |
//!
//! The category is the index, or else the source type, or else the source's. What is answered OK is on disk, so every
//! acknowledgement that is asked about was given.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use hyper::{Method, Response, StatusCode};
use logboom_wire::Record;
use serde_json::json;
use serde_json::value::RawValue;

use super::document::{Pairs, lines, set};
use super::plain::each_value;
use super::{Shared, percent_decoded};
use crate::source::Malformed;
use crate::source::json::{all, members, parse, text, values};
use crate::source::line::timestamp;
use crate::source::net::http::{Answer, Ask, Refusal, Taker, json as json_answer};

/// What says where an event is from, and what becomes of it.
const ORIGIN: [(&str, &str); 4] = [
    ("host", "host.name"),
    ("source", "com.splunk.source"),
    ("sourcetype", "com.splunk.sourcetype"),
    ("index", "com.splunk.index"),
];

pub(super) async fn answer(shared: &Shared, ask: &mut Ask) -> Result<Response<Answer>, Refusal> {
    let path = ask.head.uri.path().trim_start_matches("/services/collector").trim_end_matches("/1.0");
    let what = match path {
        "/health" => return Ok(json_answer(StatusCode::OK, &json!({ "text": "HEC is healthy", "code": 17 }))),
        "" | "/event" => What::Events,
        "/raw" => What::Raw,
        "/ack" => What::Acks,
        _ => return Err(Refusal::NotFound),
    };
    let answered = async {
        shared.admit(ask, Method::POST, "POST")?;
        match what {
            What::Acks => acks(&ask.body().await?),
            what => stored(shared, ask, what).await,
        }
    };
    let answered = answered.await;
    if answered.is_err() {
        ask.discard().await;
    }
    answered
}

#[derive(Clone, Copy)]
enum What {
    Events,
    Raw,
    Acks,
}

/// As Splunk says it.
pub(super) fn refused(refusal: &Refusal) -> Response<Answer> {
    let (status, code) = match refusal {
        // Its clients know no other way to be told to come again.
        Refusal::Full | Refusal::Busy | Refusal::Later => (StatusCode::SERVICE_UNAVAILABLE, 9),
        Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, 2),
        refusal => (refusal.status(), 6),
    };
    let mut response = refusal.on(json_answer(status, &json!({ "text": refusal.to_string(), "code": code })));
    *response.status_mut() = status;
    response
}

async fn stored(shared: &Shared, ask: &mut Ask, what: What) -> Result<Response<Answer>, Refusal> {
    let query = query(ask.head.uri.query().unwrap_or_default())?;
    let channel = ask.head.headers.contains_key("x-splunk-request-channel") || query.channel;
    let body = ask.body().await?;
    let mut taker = Taker::new(&shared.inlet);
    match what {
        What::Raw => read_raw(&body, &query.origin, &mut taker)?,
        _ => read_events(&body, &mut taker)?,
    }
    drop(body);
    taker.store(&shared.inlet, ask).await?;
    let mut success = json!({ "text": "Success", "code": 0 });
    if channel {
        success["ackId"] = shared.acks.fetch_add(1, Ordering::Relaxed).into();
    }
    Ok(json_answer(StatusCode::OK, &success))
}

/// Every acknowledgement that is asked for.
fn acks(body: &[u8]) -> Result<Response<Answer>, Refusal> {
    let [ids] = values(parse(body)?, ["acks"])?;
    let mut acks = serde_json::Map::new();
    all(ids, |id| {
        let id: u64 = id.get().parse().map_err(|_| Malformed::fixed("an id is not a number"))?;
        acks.insert(id.to_string(), true.into());
        Ok::<_, Malformed>(())
    })?;
    Ok(json_answer(StatusCode::OK, &json!({ "acks": acks })))
}

#[derive(Default)]
struct Query {
    /// As [`ORIGIN`] has it.
    origin: [Option<String>; 4],
    channel: bool,
}

fn query(query: &str) -> Result<Query, Malformed> {
    let mut found = Query::default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let Some(index) = ORIGIN.iter().position(|(known, _)| *known == name) {
            found.origin[index] = Some(percent_decoded(value, b' ')?).filter(|value| !value.is_empty());
        }
        found.channel |= name == "channel";
    }
    Ok(found)
}

/// Each line is an event.
pub(super) fn read_raw(body: &[u8], origin: &[Option<String>; 4], taker: &mut Taker) -> Result<(), Refusal> {
    let known = ORIGIN.iter().zip(origin);
    taker.set_common(known.filter_map(|((_, key), value)| value.as_deref().map(|value| (*key, value))));
    let [_, _, sourcetype, index] = origin;
    let category = index.as_deref().or(sourcetype.as_deref());
    lines(body).try_for_each(|line| {
        let record = Record { observed: taker.observed, body: line, ..Record::default() };
        taker.take(category, &record, line.len()).map(drop)
    })?;
    some(taker)
}

/// Objects, one after another.
pub(super) fn read_events(body: &[u8], taker: &mut Taker) -> Result<(), Refusal> {
    let mut attributes = Pairs::new();
    each_value(body, |object| {
        attributes.clear();
        let (mut event, mut time, mut fields) = (None, None, None);
        let (mut index, mut sourcetype) = (None, None);
        members(object, |(name, raw)| {
            if raw.get() == "null" {
                return Ok(());
            }
            match &*name {
                "event" => event = Some(raw),
                "time" => time = text(Some(raw))?.and_then(|text| timestamp::from_number(&text)),
                "fields" => fields = Some(raw),
                name => {
                    let Some((known, key)) = ORIGIN.iter().find(|(known, _)| *known == name) else { return Ok(()) };
                    let value = text(Some(raw))?.unwrap_or_default();
                    match *known {
                        "index" => index = Some(value.clone()),
                        "sourcetype" => sourcetype = Some(value.clone()),
                        _ => {}
                    }
                    set(&mut attributes, (*key).into(), value)?;
                }
            }
            Ok::<_, Malformed>(())
        })?;
        let event = event.ok_or(Malformed::fixed("an event has no `event`"))?;
        if let Some(fields) = fields {
            members(fields, |(name, raw)| set(&mut attributes, name, text(Some(raw))?.unwrap_or_default()))?;
        }
        let body: Cow<'_, str> = text(Some(event)).map_err(Malformed::from)?.unwrap_or_default();
        let views: Vec<(&str, &str)> = attributes.iter().map(|(name, value)| (&**name, &**value)).collect();
        let record = Record {
            timestamp: time,
            observed: taker.observed,
            body: body.as_bytes(),
            attributes: &views,
            ..Record::default()
        };
        let category = index.as_deref().filter(|name| !name.is_empty()).or(sourcetype.as_deref());
        taker.take(category.filter(|name| !name.is_empty()), &record, object.get().len()).map(drop)
    })?;
    some(taker)
}

fn some(taker: &Taker) -> Result<(), Refusal> {
    match taker.records() + taker.rejected() {
        0 => Err(Refusal::Malformed("there is no event in the request".into())),
        _ => Ok(()),
    }
}
