//! For tests: a small HTTP client, and the records that a request becomes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type};
use bytes::Bytes;
use futures::FutureExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use logboom_config::{OnLongLine, Source};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{StreamId, column};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answer, Refusal, Taker};
use crate::source::Inlet;
use crate::source::testing::{PATIENCE, context};

/// A record with all that it has. The attributes are those of its run and its own, but not the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whole {
    pub(crate) category: String,
    pub(crate) body: Vec<u8>,
    /// When the event happened, ns since 1970; 0 for unknown.
    pub(crate) timestamp: i64,
    pub(crate) severity_number: u8,
    pub(crate) severity_text: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) trace_id: Vec<u8>,
    pub(crate) span_id: Vec<u8>,
}

impl Whole {
    pub(crate) fn new(category: &str, body: impl AsRef<[u8]>) -> Self {
        Self { category: category.to_owned(), body: body.as_ref().to_vec(), ..Self::default() }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.attributes.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn at(self, timestamp: i64) -> Self {
        Self { timestamp, ..self }
    }
}

/// The records that `read` has a source take.
pub(in crate::source) fn wholes(
    source: &Source,
    read: impl FnOnce(&mut Taker) -> Result<(), Refusal>,
) -> Result<Vec<Whole>, Refusal> {
    let inlet = Inlet::new(source.clone(), context());
    let mut taker = Taker::new(&inlet);
    let observed = taker.observed;
    read(&mut taker)?;
    let receipt = inlet.append_all(taker.into_batch()).now_or_never().expect("there is room").unwrap();
    if receipt.is_none() {
        return Ok(vec![]);
    }
    let mut wholes = Vec::new();
    for pending in inlet.context().intake.take(Duration::ZERO, None).unwrap().blocks {
        let place = BlockPlace { stream: StreamId::random(), number: 1, first_record: 0, host: "host-1" };
        let block = Encoder::default().encode(place, pending.runs, Vec::new()).unwrap();
        for (index, run) in block.header().runs.iter().enumerate() {
            let batch = block.decode_run(index).unwrap();
            let column = |name| batch.column_by_name(name);
            for row in 0..batch.num_rows() {
                let text = |name| column(name).map(|column| column.as_string::<i32>().value(row).to_owned());
                let id = |name| column(name).map(|column| column.as_fixed_size_binary().value(row).to_vec());
                let time = column(column::TIMESTAMP).map(|column| column.as_primitive::<Int64Type>().value(row));
                let number =
                    column(column::SEVERITY_NUMBER).map(|column| column.as_primitive::<UInt8Type>().value(row));
                let mut whole = Whole {
                    category: run.key.category.clone(),
                    body: column(column::BODY).unwrap().as_binary::<i32>().value(row).to_vec(),
                    timestamp: time.filter(|time| *time != observed).unwrap_or_default(),
                    severity_number: number.unwrap_or_default(),
                    severity_text: text(column::SEVERITY_TEXT).unwrap_or_default(),
                    attributes: run.key.attributes.iter().cloned().collect(),
                    trace_id: id(column::TRACE_ID).unwrap_or_default(),
                    span_id: id(column::SPAN_ID).unwrap_or_default(),
                };
                whole.trace_id.truncate(if whole.trace_id == [0; 16] { 0 } else { 16 });
                whole.span_id.truncate(if whole.span_id == [0; 8] { 0 } else { 8 });
                if let Some(attributes) = column(column::ATTRIBUTES).map(|column| column.as_map().value(row)) {
                    let (keys, values) =
                        (attributes.column(0).as_string::<i32>(), attributes.column(1).as_string::<i32>());
                    let own = keys.iter().zip(values).map(|(key, value)| (key.unwrap().into(), value.unwrap().into()));
                    let own: Vec<(String, String)> = own.collect();
                    let unique: BTreeMap<_, _> = own.iter().cloned().collect();
                    assert_eq!(own.len(), unique.len(), "keys are unique");
                    whole.attributes.extend(own);
                }
                wholes.push(whole);
            }
        }
    }
    Ok(wholes)
}

/// Names and values.
pub(in crate::source) type Headers<'a> = &'a [(&'a str, &'a str)];

/// Has lines of more than 64 bytes dropped.
pub(in crate::source) fn drops_long_lines(source: &mut Source) {
    source.max_line = 64;
    source.on_long_line = OnLongLine::Drop;
}

/// One connection.
pub(crate) enum Client {
    Http1(http1::SendRequest<Answer>),
    Http2(http2::SendRequest<Answer>),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn trailer(&self, name: &str) -> &str {
        let found = self.trailers.get(name).or(self.headers.get(name));
        found.map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    pub(crate) async fn http1(address: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2(address: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    /// The answer to a request; an error where the connection ends without.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let uri = match self {
            Self::Http1(_) => path.to_owned(),
            Self::Http2(_) => format!("http://logboom{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if matches!(self, Self::Http1(_)) {
            request = request.header("host", "logboom");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Answer { bytes: body.into(), trailers: None }).unwrap();
        let reply = async {
            let response = match self {
                Self::Http1(sender) => {
                    sender.ready().await.map_err(|error| error.to_string())?;
                    sender.send_request(request).await
                }
                Self::Http2(sender) => {
                    sender.ready().await.map_err(|error| error.to_string())?;
                    sender.send_request(request).await
                }
            };
            let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
            let (body, trailers) = whole(body).await?;
            Ok(Reply { status: head.status, headers: head.headers, body: body.into(), trailers })
        };
        timeout(PATIENCE, reply).await.expect("an answer in time")
    }

    pub(crate) async fn post(&mut self, path: &str, kind: &str, body: impl Into<Bytes>) -> Reply {
        self.ask("POST", path, &[("content-type", kind)], body).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await.unwrap()
    }
}

async fn whole(mut body: Incoming) -> Result<(Vec<u8>, HeaderMap), String> {
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await;
        let Some(frame) = frame else { return Ok((bytes, trailers)) };
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap(),
        }
    }
}
