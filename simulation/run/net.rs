//! The network: connections that deliver what is written in order, some time later, or no more.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use logboom_adaptor::simulation::{Network, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::chance::Chance;
use crate::life::Life;
use crate::trace::{Trace, note};

/// Bytes that are under way in one direction before a writer waits.
const WINDOW: usize = 64 << 10;

/// All connections.
#[derive(Clone, Debug)]
pub struct Net {
    chance: Chance,
    trace: Trace,
    state: Arc<Mutex<State>>,
}

type Listener = mpsc::UnboundedSender<Box<dyn logboom_collector::simulation::Stream>>;

#[derive(Debug, Default)]
struct State {
    listeners: BTreeMap<String, (Arc<Life>, Listener)>,
    /// Pairs of machines that do not hear one another.
    cut: Vec<(String, String)>,
    connections: Vec<Connection>,
    /// The longest way, ms.
    latency_ms: u64,
}

#[derive(Debug)]
struct Connection {
    adaptor: String,
    collector: String,
    lives: [Arc<Life>; 2],
    /// To the collector, and back.
    pipes: [Arc<Mutex<Pipe>>; 2],
}

#[derive(Debug, Default)]
struct Pipe {
    queue: VecDeque<(Instant, Bytes)>,
    held: usize,
    /// Nothing more comes after the queue.
    ended: bool,
    /// Both ends get an error.
    reset: bool,
    /// What is written goes nowhere.
    silent: bool,
    /// Nothing is delivered for now.
    cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl Net {
    pub fn new(chance: &Chance, trace: &Trace) -> Self {
        let state = State { latency_ms: 20, ..State::default() };
        Self { chance: chance.clone(), trace: trace.clone(), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn listen(&self, collector: &str, life: &Arc<Life>, listener: Listener) {
        self.state().listeners.insert(collector.to_owned(), (life.clone(), listener));
    }

    pub fn set_latency(&self, ms: u64) {
        self.state().latency_ms = ms;
    }

    /// These two machines hear one another no more; or again.
    pub fn set_cut(&self, adaptor: &str, collector: &str, cut: bool) {
        let mut state = self.state();
        let pair = (adaptor.to_owned(), collector.to_owned());
        state.cut.retain(|other| *other != pair);
        for connection in state.connections.iter().filter(|of| of.adaptor == adaptor && of.collector == collector) {
            for pipe in &connection.pipes {
                let mut pipe = pipe.lock().unwrap();
                pipe.cut = cut;
                pipe.wake();
            }
        }
        if cut {
            state.cut.push(pair);
        }
    }

    pub fn heal(&self) {
        let pairs = self.state().cut.clone();
        pairs.iter().for_each(|(adaptor, collector)| self.set_cut(adaptor, collector, false));
        self.set_latency(20);
    }

    /// One of the connections breaks: both ends are told, or neither is.
    pub fn break_one(&self, silently: bool) {
        let state = self.state();
        if state.connections.is_empty() {
            return;
        }
        let connection = self.chance.pick(&state.connections);
        let how = if silently { "silently" } else { "by a reset" };
        note!(self.trace, "net", "{} to {} breaks {how}", connection.adaptor, connection.collector);
        let one_way = silently && self.chance.hits(0.5);
        for pipe in connection.pipes.iter().skip(usize::from(one_way)) {
            let mut pipe = pipe.lock().unwrap();
            match silently {
                true => pipe.silent = true,
                false => pipe.reset = true,
            }
            pipe.wake();
        }
    }

    /// A process is dead. Its peers are told, unless its machine went with it.
    pub fn hang_up(&self, life: &Arc<Life>, silently: bool) {
        let mut state = self.state();
        for connection in state.connections.iter().filter(|of| of.lives.iter().any(|of| Arc::ptr_eq(of, life))) {
            for pipe in &connection.pipes {
                let mut pipe = pipe.lock().unwrap();
                match silently {
                    true => pipe.silent = true,
                    false => pipe.reset = true,
                }
                pipe.wake();
            }
        }
        state.connections.retain(|of| !of.lives.iter().any(|of| Arc::ptr_eq(of, life)));
        state.listeners.retain(|_, (of, _)| !Arc::ptr_eq(of, life));
    }

    fn way(&self) -> Duration {
        let latency = self.state().latency_ms;
        self.chance.millis(0..latency + 1)
    }
}

/// The network as one adaptor has it.
#[derive(Debug)]
pub struct Uplink {
    pub net: Net,
    pub adaptor: String,
    pub life: Arc<Life>,
}

impl Network for Uplink {
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (net, life) = (self.net.clone(), self.life.clone());
        let (adaptor, collector) = (self.adaptor.clone(), name.to_owned());
        async move {
            tokio::time::sleep(net.way() * 2).await;
            life.thaw().await;
            let cut = net.state().cut.iter().any(|(a, c)| *a == adaptor && *c == collector);
            if cut {
                return std::future::pending().await;
            }
            let listener = net.state().listeners.get(&collector).cloned();
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (peer, listener) = listener.filter(|(peer, _)| !peer.is_dead()).ok_or_else(refused)?;
            let pipes: [Arc<Mutex<Pipe>>; 2] = Default::default();
            let end = |read: usize, life: &Arc<Life>| End {
                net: net.clone(),
                read: pipes[read].clone(),
                write: pipes[1 - read].clone(),
                life: life.clone(),
                sleep: None,
            };
            let (ours, theirs) = (end(1, &life), end(0, &peer));
            listener.send(Box::new(theirs)).map_err(|_| refused())?;
            note!(net.trace, adaptor, "connects to {collector}");
            net.state().connections.push(Connection { adaptor, collector, lives: [life, peer], pipes });
            Ok(Box::new(ours) as Box<dyn Stream>)
        }
        .boxed()
    }
}

/// One end of a connection.
struct End {
    net: Net,
    read: Arc<Mutex<Pipe>>,
    write: Arc<Mutex<Pipe>>,
    life: Arc<Life>,
    sleep: Option<Pin<Box<Sleep>>>,
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut pipe = this.read.lock().unwrap();
        let frozen = this.life.frozen();
        if this.life.is_dead() || (pipe.cut && !pipe.reset) {
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if pipe.reset {
            return Poll::Ready(Err(reset()));
        }
        let now = Instant::now();
        let Some((at, bytes)) = pipe.queue.front_mut() else {
            if pipe.ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let ready_at = (*at).max(now + frozen);
        if ready_at > now {
            let sleep = this.sleep.insert(Box::pin(tokio::time::sleep_until(ready_at)));
            pipe.reader = Some(context.waker().clone());
            drop(pipe);
            let _ = sleep.as_mut().poll(context);
            return Poll::Pending;
        }
        let count = bytes.len().min(into.remaining());
        into.put_slice(&bytes[..count]);
        bytes.advance(count);
        if bytes.is_empty() {
            pipe.queue.pop_front();
        }
        pipe.held -= count;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let way = self.net.way();
        let mut pipe = self.write.lock().unwrap();
        if pipe.reset && !self.life.is_dead() {
            return Poll::Ready(Err(reset()));
        }
        if pipe.held >= WINDOW || !self.life.effect() {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        if pipe.silent {
            // As if it waited for an acknowledgement that never comes.
            pipe.held += bytes.len();
            return Poll::Ready(Ok(bytes.len()));
        }
        let last = pipe.queue.back().map(|(at, _)| *at);
        let at = (Instant::now() + way).max(last.unwrap_or_else(Instant::now));
        // A peer may get it in pieces.
        let cut = match bytes.len() {
            2.. if self.net.chance.hits(0.1) => self.net.chance.within(1..bytes.len() as u64) as usize,
            all => all,
        };
        pipe.queue.push_back((at, Bytes::copy_from_slice(&bytes[..cut])));
        pipe.held += cut;
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(cut))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.life.is_dead() {
            return;
        }
        for pipe in [&self.read, &self.write] {
            let mut pipe = pipe.lock().unwrap();
            pipe.ended = true;
            pipe.wake();
        }
        let mut state = self.net.state();
        state.connections.retain(|of| !of.pipes.iter().any(|pipe| Arc::ptr_eq(pipe, &self.read)));
    }
}
