//! What happened, as lines; or only their hash, which is the same whenever the run is.

use std::fmt::{Arguments, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// More events than any sound run has: somebody goes round in circles.
const EVENTS_MAX: u64 = 3_000_000;

#[derive(Clone, Debug)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    hash: DefaultHasher,
    events: u64,
    ambiguous: u64,
    line: String,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// Begins now. Keeps the lines, if wanted.
    pub fn new(keep: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            start: Instant::now(),
            hash: DefaultHasher::new(),
            events: 0,
            ambiguous: 0,
            line: String::new(),
            kept: keep.then(Vec::new),
        })))
    }

    /// Notes what `who` did or what befell it.
    pub fn note(&self, who: &str, what: Arguments<'_>) {
        let mut inner = self.0.lock().unwrap();
        let Inner { start, hash, events, line, kept, .. } = &mut *inner;
        line.clear();
        let millis = start.elapsed().as_millis();
        write!(line, "{:>4}.{:03} {who:<6} {what}", millis / 1000, millis % 1000).expect("a text takes all");
        hash.write(line.as_bytes());
        *events += 1;
        assert!(*events < EVENTS_MAX, "a run without an end: {line}");
        if let Some(kept) = kept {
            kept.push(line.clone());
        }
    }

    /// Count of events so far.
    pub fn events(&self) -> u64 {
        self.0.lock().unwrap().events
    }

    /// Counts the put of a commit whose answer does not say whether it landed.
    pub fn count_ambiguous(&self) {
        self.0.lock().unwrap().ambiguous += 1;
    }

    /// How many of these there were.
    pub fn ambiguous(&self) -> u64 {
        self.0.lock().unwrap().ambiguous
    }

    pub fn hash(&self) -> u64 {
        self.0.lock().unwrap().hash.finish()
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().kept.clone().unwrap_or_default()
    }
}

/// Notes an event: `note!(trace, who, "text {}", value)`.
macro_rules! note {
    ($trace:expr, $who:expr, $($what:tt)*) => { $trace.note(&$who, format_args!($($what)*)) };
}
pub(crate) use note;
