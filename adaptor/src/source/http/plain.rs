//! `POST /v1/logs/{category}`, and `POST /v1/logs` for the source's own category.
//!
//! | content type | body |
//! |---|---|
//! | `application/x-ndjson`, `application/jsonl` | a JSON object on each line; a line that is none is kept as it is |
//! | `application/json` | an array of objects or texts, or such values one after another; anything else is refused |
//! | `text/plain`, or none | a record on each line |
//! | `application/octet-stream` | one record, byte for byte |
//!
//! Empty lines are no records. The answer is `{"records": 3}`, with `"dropped"` where the source drops bodies longer than
//! `max_line`.

use bytes::Bytes;
use hyper::{Method, Response, StatusCode};
use logboom_config::category_is_valid;
use logboom_wire::Record;
use serde_json::json;
use serde_json::value::RawValue;

use super::document::{Documents, lines};
use super::{Shared, percent_decoded};
use crate::source::Malformed;
use crate::source::json::{elements, parse};
use crate::source::net::http::{Answer, Ask, Refusal, Taker, json as json_answer, media_type};

pub(super) async fn answer(shared: &Shared, ask: &mut Ask) -> Result<Response<Answer>, Refusal> {
    let answered = stored(shared, ask).await;
    if answered.is_err() {
        ask.discard().await;
    }
    answered
}

async fn stored(shared: &Shared, ask: &mut Ask) -> Result<Response<Answer>, Refusal> {
    let category = category(ask.head.uri.path())?;
    shared.admit(ask, Method::POST, "POST")?;
    let form = Form::of(&media_type(&ask.head.headers))?;
    let body = ask.body().await?;
    let mut taker = Taker::new(&shared.inlet);
    read(form, &body, category.as_deref(), &mut Documents::new(shared), &mut taker)?;
    drop::<Bytes>(body);
    let (records, dropped) = (taker.records(), taker.rejected());
    taker.store(&shared.inlet, ask).await?;
    Ok(json_answer(
        StatusCode::OK,
        &match dropped {
            0 => json!({ "records": records }),
            dropped => json!({ "records": records, "dropped": dropped }),
        },
    ))
}

/// The category that the path names.
fn category(path: &str) -> Result<Option<String>, Refusal> {
    let rest = path.strip_prefix("/v1/logs").ok_or(Refusal::NotFound)?;
    let Some(name) = rest.strip_prefix('/').filter(|name| !name.is_empty()) else {
        return if rest.len() < 2 { Ok(None) } else { Err(Refusal::NotFound) };
    };
    let name = percent_decoded(name, b'+')?;
    match category_is_valid(&name) {
        true => Ok(Some(name)),
        false => Err(Refusal::Malformed("a category has 1 to 256 bytes and no control characters".into())),
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    JsonLines,
    Json,
    Lines,
    Whole,
}

impl Form {
    fn of(media_type: &str) -> Result<Self, Refusal> {
        Ok(match media_type {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Self::JsonLines
            }
            "application/json" => Self::Json,
            "text/plain" | "" => Self::Lines,
            "application/octet-stream" => Self::Whole,
            _ => {
                return Err(Refusal::MediaType(
                    "application/x-ndjson, application/json, text/plain or application/octet-stream",
                ));
            }
        })
    }
}

/// Has `taker` take every record of `body`.
pub(super) fn read(
    form: Form,
    body: &[u8],
    category: Option<&str>,
    documents: &mut Documents,
    taker: &mut Taker,
) -> Result<(), Refusal> {
    let plain = |line, taker: &mut Taker| {
        let record = Record { observed: taker.observed, body: line, ..Record::default() };
        taker.take(category, &record, line.len()).map(drop)
    };
    match form {
        Form::Whole => plain(body, taker),
        Form::Lines => lines(body).try_for_each(|line| plain(line, taker)),
        Form::JsonLines => lines(body).try_for_each(|line| documents.line(line, category, taker).map(drop)),
        Form::Json if body.trim_ascii_start().starts_with(b"[") => {
            elements(parse(body)?, |raw| documents.value(raw, category, taker).map(drop))
        }
        Form::Json => each_value(body, |raw| documents.value(raw, category, taker).map(drop)),
    }
}

/// Calls `each` with every value of JSON in `bytes`, which stand one after another.
pub(super) fn each_value<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(&'a RawValue) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Malformed::fixed("it is not UTF-8"))?;
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        each(value.map_err(|error| Malformed::new(error.to_string()))?)?;
    }
    Ok(())
}
