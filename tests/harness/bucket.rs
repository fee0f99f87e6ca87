//! A bucket on a real server, behind a proxy that breaks what passes between it and the collectors.

use std::fmt::Write;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::oracle::Table;
use proxy::{Fault, Proxy};
use server::Server;

#[path = "../../sink/tests/stores/proxy.rs"]
mod proxy;
#[path = "../../sink/tests/stores/server.rs"]
mod server;

pub use server::Kind;

/// One table's place in a bucket.
pub struct Bucket {
    /// Lines of collectors' settings under `[sink]`: through the proxy.
    pub sink: String,
    /// For who judges: not through the proxy.
    pub table: Table,
    proxy: Proxy,
    server: &'static Server,
    url: String,
}

/// A way to a bucket of its own.
pub struct Way(Proxy);

impl Way {
    /// From now on no request is answered, nor does it reach the server.
    pub fn close(&self) {
        self.0.rule(|_, _| Some(Fault::NoAnswer));
    }
}

fn settings(server: &Server, url: &str, proxy: &Proxy) -> String {
    let mut sink = format!("url = {url:?}\n[sink.options]\ntimeout = \"1s\"\n");
    for (key, value) in server.options(proxy.port) {
        writeln!(sink, "{key} = {value:?}").unwrap();
    }
    sink
}

impl Bucket {
    /// A fresh one on the first of these servers that is installed; `None`, with the reason printed, if none is.
    pub fn on_first(kinds: &[Kind]) -> Option<Self> {
        let server = kinds.iter().find_map(|kind| Server::get(*kind))?;
        let (url, proxy) = (server.fresh_url(), Proxy::start(server.port));
        let sink = settings(server, &url, &proxy);
        println!("on {:?}", server.kind);
        Some(Self { sink, table: Table::on(&url, server.options(server.port)), proxy, server, url })
    }

    /// Another way to the same place, and lines of collectors' settings that lead through it.
    pub fn another_way(&self) -> (String, Way) {
        let proxy = Proxy::start(self.server.port);
        (settings(self.server, &self.url, &proxy), Way(proxy))
    }

    /// From now on every tenth request is broken: refused with 500 or 503, late, not answered, or answered by a connection
    /// that breaks before or after the request has landed.
    pub fn break_requests(&self, seed: u64) {
        const FAULTS: [Fault; 8] = [
            Fault::InternalError,
            Fault::SlowDown,
            Fault::NoAnswer,
            Fault::Slow(Duration::from_millis(400)),
            Fault::LoseAnswer,
            Fault::ErrorAfterLanding,
            Fault::HangAfterLanding,
            Fault::Cut,
        ];
        let mut random = StdRng::seed_from_u64(seed);
        self.proxy.rule(move |_, _| random.random_ratio(1, 10).then(|| FAULTS[random.random_range(0..FAULTS.len())]));
    }

    /// What was done to requests, and how often.
    pub fn done(&self) -> String {
        format!("{} requests broken: {:?}", self.proxy.faults(), self.proxy.counts())
    }
}
