//! A small HTTP client for tests.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Answer;
use crate::source::testing::PATIENCE;

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
        headers: &[(&str, &str)],
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
