//! For tests of sources: a context, and the records that went into an intake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use futures::FutureExt;
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{StreamId, column};

use crate::intake::{Chunk, Intake, Pending};
use crate::source::Context;

/// A record as a reader would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) category: String,
    pub(crate) body: String,
    /// Those of its run and its own.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn new(category: &str, body: &str) -> Self {
        Self { category: category.to_owned(), body: body.to_owned(), attributes: BTreeMap::new() }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.attributes.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// A context with an intake that nobody writes out yet.
pub(crate) fn context() -> Context {
    Context {
        intake: Intake::new(1 << 20, 16 << 20),
        host: "host-1".into(),
        labels: Arc::default(),
        positions: Arc::default(),
        resumed: false,
        counters: Arc::default(),
    }
}

/// The records of `chunk` after a way through an intake that is empty.
pub(crate) fn taken(intake: &Intake, chunk: Chunk) -> Vec<Seen> {
    let appended = intake.append(chunk).now_or_never().expect("there is room");
    assert!(appended.is_ok());
    let taken = intake.take(Duration::ZERO).unwrap();
    intake.synced(taken.bytes, taken.last_append);
    taken.blocks.into_iter().flat_map(records).collect()
}

/// The records of a block, in its order.
pub(crate) fn records(block: Pending) -> Vec<Seen> {
    let place = BlockPlace { stream: StreamId::random(), number: 1, first_record: 0, host: "host-1" };
    let block = Encoder::default().encode(place, block.runs, Vec::new()).unwrap();
    let mut seen = Vec::new();
    for (index, run) in block.header().runs.iter().enumerate() {
        let batch = block.decode_run(index).unwrap();
        let bodies = batch.column_by_name(column::BODY).unwrap().as_binary::<i32>();
        let attributes = batch.column_by_name(column::ATTRIBUTES).map(|column| column.as_map());
        for row in 0..batch.num_rows() {
            let mut record = Seen::new(&run.key.category, &String::from_utf8_lossy(bodies.value(row)));
            record.attributes.extend(run.key.attributes.iter().cloned());
            if let Some(attributes) = attributes {
                let entries = attributes.value(row);
                let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
                for (key, value) in keys.iter().zip(values) {
                    record.attributes.insert(key.unwrap().to_owned(), value.unwrap().to_owned());
                }
            }
            seen.push(record);
        }
    }
    seen
}
