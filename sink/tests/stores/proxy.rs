//! An HTTP proxy that breaks what passes: it stands where the server is thought to be, and forwards to the server what it
//! does not break. Requests go through as they are, so that signatures still fit.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with 500, and does not reach the server.
    InternalError,
    /// It is answered with 503 SlowDown, and does not reach the server.
    SlowDown,
    /// It is never answered, and does not reach the server.
    NoAnswer,
    /// It is forwarded and answered this much later.
    Slow(Duration),
    /// It is forwarded, and the connection breaks before the answer.
    LoseAnswer,
    /// It is forwarded, and answered with 500.
    ErrorAfterLanding,
    /// It is forwarded, and never answered.
    HangAfterLanding,
    /// The connection breaks, and the server never sees it.
    Cut,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::InternalError => "500",
            Self::SlowDown => "503",
            Self::NoAnswer => "no answer",
            Self::Slow(_) => "slow",
            Self::LoseAnswer => "answer lost after landing",
            Self::ErrorAfterLanding => "500 after landing",
            Self::HangAfterLanding => "no answer after landing",
            Self::Cut => "cut",
        }
    }
}

/// What is done to a request, by its method and path.
type Rule = Box<dyn FnMut(&Method, &str) -> Option<Fault> + Send>;

/// A proxy on a thread of its own.
#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: u16,
    rule: Mutex<Rule>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Proxy {
    /// Starts one before a server on this machine. It breaks nothing yet.
    pub fn start(upstream: u16) -> Self {
        let shared = Arc::new(Shared { upstream, rule: Mutex::new(Box::new(|_, _| None)), counts: Mutex::default() });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { serve(TcpListener::from_std(listener).unwrap(), served).await });
        });
        Self { port, shared }
    }

    /// From now on this is what is done to each request.
    pub fn rule(&self, rule: impl FnMut(&Method, &str) -> Option<Fault> + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// What has been done, and how often.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counts.lock().unwrap().clone()
    }

    /// How many requests were broken.
    #[allow(dead_code)]
    pub fn faults(&self) -> u64 {
        self.counts().iter().filter(|(what, _)| **what != "forwarded").map(|(_, count)| count).sum()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        let service = service_fn(move |request| {
            let shared = shared.clone();
            async move { shared.handle(request).await }
        });
        // A service that fails breaks its connection: that is the fault.
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

impl Shared {
    async fn handle(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let fault = (self.rule.lock().unwrap())(request.method(), request.uri().path());
        let done = fault.map_or("forwarded", Fault::name);
        *self.counts.lock().unwrap().entry(done).or_default() += 1;
        match fault {
            None => self.forward(request).await,
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                self.forward(request).await
            }
            Some(Fault::InternalError) => Ok(error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            Some(Fault::SlowDown) => Ok(error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            Some(Fault::NoAnswer) => std::future::pending().await,
            Some(Fault::LoseAnswer) => {
                self.forward(request).await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(Fault::ErrorAfterLanding) => {
                self.forward(request).await?;
                Ok(error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
            }
            Some(Fault::HangAfterLanding) => {
                self.forward(request).await?;
                std::future::pending().await
            }
            Some(Fault::Cut) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// On a connection of its own; the answer is whole before any of it is passed on.
    async fn forward(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let socket = TcpStream::connect(("127.0.0.1", self.upstream)).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(socket));
        let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await.map_err(io::Error::other)?;
        let (mut head, body) = answer.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        connection.abort();
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            head.headers.remove(name);
        }
        head.version = hyper::Version::HTTP_11;
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

fn error(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let body = format!("<Error><Code>{code}</Code></Error>");
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}
