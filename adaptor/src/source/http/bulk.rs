//! Elasticsearch's `_bulk`, and what its clients and shippers ask before they send.
//! <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>
//!
//! `create` and `index` add a record: the index is its category, `@timestamp` its time, `message` its body, and every other
//! field an attribute, as in the `json` line format. Logs are neither changed nor deleted, so `update` and `delete` fail,
//! each by itself.

use std::io::Write;

use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::document::{Documents, lines};
use super::{Shared, percent_decoded};
use crate::source::Malformed;
use crate::source::json::{members, parse, text, values};
use crate::source::net::http::{Answer, Ask, Refusal, Taker, empty, json as json_answer, text as text_answer};

/// Actions of a request: each has its part in the answer.
const ACTIONS_MAX: usize = 64 << 10;
/// The version that clients are told: they refuse to speak to much older ones.
const VERSION: &str = "8.19.0";

pub(super) async fn answer(shared: &Shared, ask: &mut Ask) -> Result<Response<Answer>, Refusal> {
    let answered = match ask.head.uri.path() {
        "/" | "/_license" | "/_xpack" | "/_cluster/health" => about(shared, ask),
        path => match path.strip_suffix("/_bulk").map(|index| index.strip_prefix('/').unwrap_or(index).to_owned()) {
            Some(index) if !index.contains('/') => bulk(shared, ask, &index).await,
            _ => Err(Refusal::NotFound),
        },
    };
    if answered.is_err() {
        ask.discard().await;
    }
    answered.map(product)
}

/// As Elasticsearch says it.
pub(super) fn refused(refusal: &Refusal) -> Response<Answer> {
    let kind = match refusal {
        Refusal::Full | Refusal::Busy | Refusal::Later => "es_rejected_execution_exception",
        Refusal::Unauthorized => "security_exception",
        _ => "illegal_argument_exception",
    };
    let status = refusal.status();
    let body = json!({ "error": { "type": kind, "reason": refusal.to_string() }, "status": status.as_u16() });
    product(refusal.on(json_answer(status, &body)))
}

/// Clients speak to nobody who does not say this.
fn product(mut response: Response<Answer>) -> Response<Answer> {
    response.headers_mut().insert("x-elastic-product", HeaderValue::from_static("Elasticsearch"));
    response
}

/// Who we are.
fn about(shared: &Shared, ask: &Ask) -> Result<Response<Answer>, Refusal> {
    if ask.head.method == Method::HEAD {
        shared.authorize(ask)?;
        return Ok(empty(StatusCode::OK));
    }
    shared.admit(ask, Method::GET, "GET, HEAD")?;
    let answer = match ask.head.uri.path() {
        "/_license" => json!({ "license": {
            "status": "active", "uid": "logboom", "type": "basic", "issue_date_in_millis": 0, "max_nodes": 1000,
            "issued_to": "logboom", "issuer": "logboom", "start_date_in_millis": -1,
        } }),
        "/_xpack" => json!({
            "license": { "uid": "logboom", "type": "basic", "mode": "basic", "status": "active" }, "features": {},
        }),
        "/_cluster/health" => json!({
            "cluster_name": "logboom", "status": "green", "timed_out": false, "number_of_nodes": 1,
            "number_of_data_nodes": 1, "active_shards": 0,
        }),
        _ => json!({
            "name": "logboom", "cluster_name": "logboom", "cluster_uuid": "logboom",
            "version": {
                "number": VERSION, "build_flavor": "default", "build_type": "tar", "build_hash": "logboom",
                "build_date": "2025-01-01T00:00:00Z", "build_snapshot": false, "lucene_version": "9.12.0",
                "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        }),
    };
    Ok(json_answer(StatusCode::OK, &answer))
}

async fn bulk(shared: &Shared, ask: &mut Ask, index: &str) -> Result<Response<Answer>, Refusal> {
    if ask.head.method != Method::PUT {
        shared.admit(ask, Method::POST, "POST, PUT")?;
    }
    shared.authorize(ask)?;
    let index = percent_decoded(index, b'+')?;
    let body = ask.body().await?;
    let started = tokio::time::Instant::now();
    let mut taker = Taker::new(&shared.inlet);
    let items = read(&body, &index, &mut Documents::new(shared), &mut taker)?;
    drop(body);
    taker.store(&shared.inlet, ask).await?;
    let mut answer = Vec::with_capacity(items.written.len() + 64);
    let took = started.elapsed().as_millis();
    let _ = write!(answer, r#"{{"took":{took},"errors":{},"items":["#, items.errors);
    answer.extend_from_slice(&items.written);
    answer.extend_from_slice(b"]}");
    Ok(text_answer(StatusCode::OK, "application/json", answer))
}

/// What is answered to each action, in their order.
#[derive(Debug, Default)]
pub(super) struct Items {
    written: Vec<u8>,
    count: usize,
    errors: bool,
}

impl Items {
    fn add(&mut self, action: &str, index: &str, id: Option<&str>, made: usize, failed: Option<&str>) {
        self.count += 1;
        self.errors |= failed.is_some();
        let id = id.map_or_else(|| format!("{made:x}"), str::to_owned);
        let mut item = json!({ "_index": index, "_id": id });
        match failed {
            None => {
                item["_version"] = 1.into();
                item["result"] = "created".into();
                item["status"] = 201.into();
            }
            Some(reason) => {
                item["error"] = json!({ "type": "illegal_argument_exception", "reason": reason });
                item["status"] = 400.into();
            }
        }
        if self.count > 1 {
            self.written.push(b',');
        }
        let _ = serde_json::to_writer(&mut self.written, &json!({ action: item }));
    }
}

/// Has `taker` take every record of `body`. `index` is that of actions that name none; empty for none.
pub(super) fn read(body: &[u8], index: &str, documents: &mut Documents, taker: &mut Taker) -> Result<Items, Refusal> {
    let mut items = Items::default();
    let mut lines = lines(body);
    while let Some(line) = lines.next() {
        if items.count == ACTIONS_MAX {
            return Err(Refusal::TooMany);
        }
        let (action, details) = action(line)?;
        let [own_index, id] = values(details, ["_index", "_id"])?;
        let (own_index, id) = (text(own_index).map_err(Malformed::from)?, text(id).map_err(Malformed::from)?);
        let index = own_index.as_deref().unwrap_or(index);
        let made = items.count;
        let mut add = |failed: Option<&str>| items.add(&action, index, id.as_deref(), made, failed);
        if action == "delete" {
            add(Some("records are never deleted: use create or index"));
            continue;
        }
        let document = lines.next().ok_or(Malformed::fixed("the last action has no document"))?;
        if action == "update" {
            add(Some("records are never changed: use create or index"));
        } else if index.is_empty() {
            add(Some("the index is missing"));
        } else {
            match documents.indexed(document, index, taker)? {
                Ok(true) => add(None),
                Ok(false) => add(Some("the message is longer than `max_line` of the source, which drops such")),
                Err(error) => add(Some(&error.to_string())),
            }
        }
    }
    match items.count {
        0 => Err(Refusal::Malformed("the request has no action".into())),
        _ => Ok(items),
    }
}

/// What to do, and its details.
fn action(line: &[u8]) -> Result<(String, &serde_json::value::RawValue), Malformed> {
    let mut found = None;
    members(parse(line)?, |(name, details)| {
        match found.is_none() && ["create", "index", "update", "delete"].contains(&&*name) {
            true => found = Some((name.into_owned(), details)),
            false => return Err(Malformed::fixed("an action is none of create, index, update and delete")),
        }
        Ok(())
    })?;
    found.ok_or(Malformed::fixed("an action is empty"))
}
