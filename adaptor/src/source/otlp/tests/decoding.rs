//! Requests in, records out.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use logboom_config::{OtlpSource, Source, SourceKind};
use prost::Message;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::super::{json as in_json, proto};
use super::messages::{
    AnyValue, Array, KeyValue, List, LogRecord, Request, Resource, ResourceLogs, Scope, ScopeLogs, Value, any, pair,
    plain, request, text,
};
use crate::source::net::http::Refusal;
use crate::source::net::http::testing::{Whole, wholes};
use crate::source::testing::fuzz;

fn source() -> Source {
    Source::new("in", SourceKind::Otlp(OtlpSource::default()))
}

fn of_proto(request: &[u8]) -> Result<Vec<Whole>, Refusal> {
    wholes(&source(), |taker| proto::read(request, taker))
}

fn of_json(request: &str) -> Result<Vec<Whole>, Refusal> {
    wholes(&source(), |taker| in_json::read(request.as_bytes(), taker))
}

/// What an attribute or a body has of a value.
fn written(value: &Option<AnyValue>) -> String {
    match value.as_ref().and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Bytes(bytes)) => STANDARD.encode(bytes),
        Some(value) => as_json(value).to_string(),
    }
}

fn as_json(value: &Value) -> serde_json::Value {
    let of = |value: &Option<AnyValue>| {
        let value = value.as_ref().and_then(|value| value.value.as_ref());
        value.map_or(serde_json::Value::Null, as_json)
    };
    match value {
        Value::Text(text) => json!(text),
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Value::Array(array) => array.values.iter().map(|value| of(&Some(value.clone()))).collect(),
        // Of keys that are equal an object of JSON cannot have both; there are none here.
        Value::List(list) => list.values.iter().map(|pair| (pair.key.clone(), of(&pair.value))).collect(),
    }
}

/// What a request should become, by the simplest code there is.
fn expected(request: &Request) -> Vec<Whole> {
    let mut wholes = Vec::new();
    for of_resource in &request.resource_logs {
        for of_scope in &of_resource.scope_logs {
            let mut common = BTreeMap::new();
            for pair in of_resource.resource.iter().flat_map(|resource| &resource.attributes) {
                common.insert(pair.key.clone(), written(&pair.value));
            }
            for scope in of_scope.scope.iter() {
                for (key, value) in [("otel.scope.name", &scope.name), ("otel.scope.version", &scope.version)] {
                    if !value.is_empty() {
                        common.insert(key.to_owned(), value.clone());
                    }
                }
                for pair in &scope.attributes {
                    common.insert(format!("otel.scope.{}", pair.key), written(&pair.value));
                }
            }
            for record in &of_scope.log_records {
                let mut attributes = common.clone();
                attributes.extend(record.attributes.iter().map(|pair| (pair.key.clone(), written(&pair.value))));
                for (key, number) in
                    [("otel.flags", record.flags), ("otel.dropped_attributes_count", record.dropped_attributes_count)]
                {
                    if number > 0 {
                        attributes.insert(key.to_owned(), number.to_string());
                    }
                }
                if !record.event_name.is_empty() {
                    attributes.insert("otel.event_name".to_owned(), record.event_name.clone());
                }
                let category = attributes.get("service.name").filter(|name| !name.is_empty());
                let times = [record.time_unix_nano, record.observed_time_unix_nano];
                let body = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
                    Some(Value::Bytes(bytes)) => bytes.clone(),
                    _ => written(&record.body).into_bytes(),
                };
                wholes.push(Whole {
                    category: category.map_or("in".to_owned(), |name| name.replace(char::is_control, "_")),
                    body,
                    timestamp: times.into_iter().find(|time| *time != 0).unwrap_or_default() as i64,
                    severity_number: record.severity_number as u8,
                    severity_text: record.severity_text.clone(),
                    attributes,
                    trace_id: Some(record.trace_id.clone()).filter(|id| id.len() == 16).unwrap_or_default(),
                    span_id: Some(record.span_id.clone()).filter(|id| id.len() == 8).unwrap_or_default(),
                });
            }
        }
    }
    wholes.sort();
    wholes
}

/// Makes up requests.
struct Maker(StdRng);

impl Maker {
    fn several<T>(&mut self, max: usize, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.0.random_range(0..=max)).map(|_| make(self)).collect()
    }

    fn word(&mut self) -> String {
        let words = ["", "a", "é", "\u{0}", "\"\\\n", "a long word, longer than others", "service.name", "k", "key"];
        (*words.choose(&mut self.0).unwrap()).to_owned()
    }

    fn pairs(&mut self, max: usize, depth: usize) -> Vec<KeyValue> {
        let mut pairs = self.several(max, |maker| KeyValue { key: maker.word(), value: maker.any(depth) });
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        pairs.dedup_by(|a, b| a.key == b.key);
        pairs
    }

    fn any(&mut self, depth: usize) -> Option<AnyValue> {
        let value = match self.0.random_range(0..if depth < 3 { 9 } else { 7 }) {
            0 => return None,
            1 => return Some(AnyValue { value: None }),
            2 => Value::Bool(self.0.random()),
            3 => Value::Int(*[0, 1, -1, i64::MIN, i64::MAX].choose(&mut self.0).unwrap()),
            4 => Value::Double(*[0.0, 1.5, -2.25e-7, 1e300].choose(&mut self.0).unwrap()),
            5 => Value::Bytes(self.several(5, |maker| maker.0.random())),
            6 => Value::Text(self.word()),
            7 => Value::Array(Array { values: self.several(3, |maker| maker.any(depth + 1).unwrap_or_default()) }),
            _ => Value::List(List { values: self.pairs(3, depth + 1) }),
        };
        any(value)
    }

    fn time(&mut self) -> u64 {
        *[0, 1, 1_700_000_000_123_456_789].choose(&mut self.0).unwrap()
    }

    fn record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.time(),
            observed_time_unix_nano: self.time(),
            severity_number: self.0.random_range(0..=24),
            severity_text: self.word(),
            body: self.any(0),
            attributes: self.pairs(6, 0),
            dropped_attributes_count: self.0.random_range(0..3),
            flags: self.0.random_range(0..3),
            trace_id: vec![7; *[0, 15, 16].choose(&mut self.0).unwrap()],
            span_id: vec![8; *[0, 8, 9].choose(&mut self.0).unwrap()],
            event_name: self.word(),
        }
    }

    fn request(&mut self) -> Request {
        let scope =
            |maker: &mut Self| Scope { name: maker.word(), version: maker.word(), attributes: maker.pairs(2, 1) };
        let of_scope = |maker: &mut Self| ScopeLogs {
            scope: maker.several(1, scope).pop(),
            log_records: maker.several(5, Self::record),
            schema_url: maker.word(),
        };
        let resource = |maker: &mut Self| Resource { attributes: maker.pairs(4, 0), dropped_attributes_count: 1 };
        let of_resource = |maker: &mut Self| ResourceLogs {
            resource: maker.several(1, resource).pop(),
            scope_logs: maker.several(3, of_scope),
            schema_url: maker.word(),
        };
        Request { resource_logs: self.several(3, of_resource) }
    }
}

/// A request in OTLP's JSON.
fn json_of(request: &Request) -> String {
    let pairs = |pairs: &[KeyValue]| -> serde_json::Value { pairs.iter().map(json_pair).collect() };
    let of_scope = |of: &ScopeLogs| {
        let scope = of.scope.as_ref().map(
            |scope| json!({ "name": scope.name, "version": scope.version, "attributes": pairs(&scope.attributes) }),
        );
        let records = of.log_records.iter().map(|record| {
            json!({
                "timeUnixNano": record.time_unix_nano.to_string(),
                "observedTimeUnixNano": record.observed_time_unix_nano,
                "severityNumber": record.severity_number,
                "severityText": record.severity_text,
                "body": record.body.as_ref().map(json_any),
                "attributes": pairs(&record.attributes),
                "droppedAttributesCount": record.dropped_attributes_count,
                "flags": record.flags,
                "traceId": hex(&record.trace_id),
                "spanId": hex(&record.span_id),
                "eventName": record.event_name,
            })
        });
        json!({ "scope": scope, "logRecords": records.collect::<Vec<_>>() })
    };
    let of_resource = |of: &ResourceLogs| {
        json!({
            "resource": of.resource.as_ref().map(|resource| json!({ "attributes": pairs(&resource.attributes) })),
            "scopeLogs": of.scope_logs.iter().map(of_scope).collect::<Vec<_>>(),
        })
    };
    json!({ "resourceLogs": request.resource_logs.iter().map(of_resource).collect::<Vec<_>>() }).to_string()
}

fn json_pair(pair: &KeyValue) -> serde_json::Value {
    json!({ "key": pair.key, "value": pair.value.as_ref().map(json_any) })
}

fn json_any(value: &AnyValue) -> serde_json::Value {
    match value.value.as_ref() {
        None => json!({}),
        Some(Value::Text(text)) => json!({ "stringValue": text }),
        Some(Value::Bool(value)) => json!({ "boolValue": value }),
        Some(Value::Int(value)) => json!({ "intValue": value.to_string() }),
        Some(Value::Double(value)) => json!({ "doubleValue": value }),
        Some(Value::Bytes(bytes)) => json!({ "bytesValue": STANDARD.encode(bytes) }),
        Some(Value::Array(array)) => {
            json!({ "arrayValue": { "values": array.values.iter().map(json_any).collect::<Vec<_>>() } })
        }
        Some(Value::List(list)) => {
            json!({ "kvlistValue": { "values": list.values.iter().map(json_pair).collect::<Vec<_>>() } })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn every_request_becomes_the_records_that_it_says_in_either_encoding() {
    let mut maker = Maker(StdRng::seed_from_u64(3));
    let mut records = 0;
    for _ in 0..2000 {
        let request = maker.request();
        let expected = expected(&request);
        records += expected.len();
        // Texts of JSON are compared as JSON: members may stand in another order.
        let compared = |mut wholes: Vec<Whole>| {
            wholes.iter_mut().for_each(sort_json);
            wholes.sort();
            wholes
        };
        let expected = compared(expected);
        let found = compared(of_proto(&request.encode_to_vec()).unwrap());
        assert_eq!(found, expected, "{request:#?}");
        let found = compared(of_json(&json_of(&request)).unwrap());
        assert_eq!(found, expected, "{}", json_of(&request));
    }
    assert!(records > 10_000, "only {records}");
}

fn sort_json(whole: &mut Whole) {
    let sorted = |text: &str| match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => value.to_string(),
        Err(_) => text.to_owned(),
    };
    if let Ok(body) = std::str::from_utf8(&whole.body) {
        whole.body = sorted(body).into_bytes();
    }
    whole.attributes.values_mut().for_each(|value| *value = sorted(value));
}

#[test]
fn bodies_are_kept_byte_for_byte() {
    let long = "x".repeat(1 << 20);
    let bodies: [&[u8]; 5] = [b"", long.as_bytes(), b"\xff\xfe\x00", b"a\nb\r\n", "é".as_bytes()];
    for body in bodies {
        let mut records = vec![plain(any(Value::Bytes(body.to_vec())))];
        if let Ok(body) = std::str::from_utf8(body) {
            records.push(plain(text(body)));
        }
        let request = request("shop", records.clone());
        for wholes in [of_proto(&request.encode_to_vec()).unwrap(), of_json(&json_of(&request)).unwrap()] {
            let expected = Whole::new("shop", body).with("service.name", "shop");
            assert_eq!(wholes, vec![expected; records.len()]);
        }
    }
}

#[test]
fn what_belongs_to_a_resource_may_stand_behind_its_records() {
    let first = request("shop", vec![plain(text("x"))]);
    let of_resource = first.resource_logs[0].encode_to_vec();
    let resource = Resource { attributes: vec![pair("service.name", text("late"))], ..Resource::default() };
    let late = ResourceLogs { resource: Some(resource), ..ResourceLogs::default() }.encode_to_vec();
    let of_scope = first.resource_logs[0].scope_logs[0].encode_to_vec();
    let mut message = Vec::new();
    crate::source::protobuf::put_bytes(&mut message, 2, &of_scope);
    message.extend_from_slice(&late);
    let mut request = Vec::new();
    crate::source::protobuf::put_bytes(&mut request, 1, &of_resource);
    crate::source::protobuf::put_bytes(&mut request, 1, &message);
    let categories: Vec<_> = of_proto(&request).unwrap().into_iter().map(|whole| whole.category).collect();
    assert_eq!(categories, ["late", "shop"]);
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}],
        "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"late"}}]}}]}"#;
    assert_eq!(of_json(json).unwrap()[0].category, "late");
}

#[test]
fn numbers_that_are_none_and_names_that_are_unknown_are_kept_as_far_as_they_can_be() {
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"17","body":{"doubleValue":"NaN"},
        "severityNumber":"9","future":[1],"traceId":"xyz","attributes":[
        {"key":"a","value":{"intValue":5}},{"key":"b","value":{"doubleValue":"-Infinity"}},{"key":"c","value":null},
        {"key":"d","value":{"arrayValue":{"values":[{"doubleValue":"Infinity"},{}]}}},{"key":"a","value":{"intValue":"6"}}
        ]}]}],"schemaUrl":null}],"future":{}}"#;
    let mut expected = Whole::new("in", "NaN").with("a", "6").with("b", "-Infinity").with("c", "");
    expected = expected.with("d", r#"["Infinity",null]"#).at(17);
    expected.severity_number = 9;
    assert_eq!(of_json(json).unwrap(), [expected]);
}

#[test]
fn what_is_malformed_is_refused_whole() {
    let whole = request("shop", vec![plain(text("x"))]).encode_to_vec();
    for end in 1..whole.len() {
        assert!(matches!(of_proto(&whole[..end]), Err(Refusal::Malformed(_))), "cut at {end}");
    }
    for json in [
        "",
        "[]",
        "{",
        r#"{"resourceLogs":{}}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[1]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"x"}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"?"}}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":"x"}]}]}]}"#,
    ] {
        assert!(matches!(of_json(json), Err(Refusal::Malformed(_))), "{json}");
    }
    let mut deep = Value::Int(1);
    for _ in 0..200 {
        deep = Value::Array(Array { values: vec![AnyValue { value: Some(deep) }] });
    }
    let deep = request("shop", vec![plain(any(deep))]);
    assert!(matches!(of_proto(&deep.encode_to_vec()), Err(Refusal::Malformed(_))));
    let deep = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}{}}}]}}]}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(5000),
        "]}}".repeat(5000)
    );
    assert!(matches!(of_json(&deep), Err(Refusal::Malformed(_))));
}

#[test]
fn a_request_that_would_take_much_memory_for_few_bytes_is_refused() {
    let records = vec![LogRecord::default(); 300_000];
    assert!(matches!(of_proto(&request("shop", records).encode_to_vec()), Err(Refusal::TooMany)));
    let mut scopes = request("shop", vec![]);
    let attributes: Vec<_> = (0..200).map(|n| pair(&format!("key-{n}"), text(&"x".repeat(60)))).collect();
    scopes.resource_logs[0].resource = Some(Resource { attributes, ..Resource::default() });
    let scope = |n: usize| ScopeLogs {
        scope: Some(Scope { name: n.to_string(), ..Scope::default() }),
        log_records: vec![LogRecord::default()],
        ..ScopeLogs::default()
    };
    scopes.resource_logs[0].scope_logs = (0..20_000).map(scope).collect();
    assert!(matches!(of_proto(&scopes.encode_to_vec()), Err(Refusal::TooMany)));
    let many =
        LogRecord { attributes: (0..1000).map(|n| pair(&n.to_string(), None)).collect(), ..LogRecord::default() };
    let wholes = of_proto(&request("shop", vec![many]).encode_to_vec()).unwrap();
    assert_eq!(wholes[0].attributes.len(), 257, "256 of its own, and one of its resource");
}

/// Some of all kinds.
fn requests() -> Vec<Request> {
    let mut maker = Maker(StdRng::seed_from_u64(4));
    (0..5).map(|_| maker.request()).collect()
}

#[test]
fn no_bytes_make_it_panic() {
    let protos: Vec<_> = requests().iter().map(Request::encode_to_vec).collect();
    let corpus: Vec<_> = protos.iter().map(Vec::as_slice).collect();
    fuzz(&corpus, |bytes| drop(of_proto(bytes)));
}

#[test]
fn no_text_makes_it_panic() {
    let jsons: Vec<_> = requests().iter().map(json_of).collect();
    let corpus: Vec<_> = jsons.iter().map(String::as_bytes).collect();
    fuzz(&corpus, |bytes| drop(wholes(&source(), |taker| in_json::read(bytes, taker))));
}

/// What a record costs, in ns. Run it in release: `cargo test --release -p logboom-adaptor --lib record_costs --
/// --ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn record_costs() {
    let body = "x".repeat(200);
    let bare = vec![plain(text(&body)); 1000];
    let usual = LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        attributes: vec![pair("http.route", text("/a/b")), pair("http.status", any(Value::Int(200)))],
        ..plain(text(&body))
    };
    for (name, records) in [("bare", bare), ("usual", vec![usual; 1000])] {
        let bytes = request("shop", records).encode_to_vec();
        let inlet = crate::source::Inlet::new(source(), crate::source::testing::context());
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            let mut taker = crate::source::net::http::Taker::new(&inlet);
            proto::read(&bytes, &mut taker).unwrap();
            assert_eq!(taker.records(), 1000);
        }
        println!("{name}: {} ns a record", start.elapsed().as_nanos() / 1_000_000);
    }
}
