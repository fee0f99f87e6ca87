//! What was sent, and what was promised about it; and records that say what they are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

/// What a producer knows of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing: it may be in the table once, or not at all.
    None,
    /// It is durable, so it has to be in the table.
    Kept,
    /// It was refused, so it must not be.
    Refused,
}

/// The promises to each producer, for records numbered from 1.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Vec<Promise>>>>);

impl Ledger {
    /// The number of the record that is about to be sent.
    pub fn next(&self, producer: &str) -> u64 {
        let mut accounts = self.0.lock().unwrap();
        let promises = accounts.entry(producer.to_owned()).or_default();
        promises.push(Promise::None);
        promises.len() as u64
    }

    pub fn promise(&self, producer: &str, numbers: &[u64], promise: Promise) {
        let mut accounts = self.0.lock().unwrap();
        let promises = accounts.get_mut(producer).expect("it has sent");
        numbers.iter().for_each(|n| promises[*n as usize - 1] = promise);
    }

    pub fn accounts(&self) -> BTreeMap<String, Vec<Promise>> {
        self.0.lock().unwrap().clone()
    }

    /// The machine of these producers was set back to what it was then: what was promised later does not hold.
    pub fn set_back(&self, then: &BTreeMap<String, Vec<Promise>>, is_there: impl Fn(&str) -> bool) {
        for (producer, promises) in self.0.lock().unwrap().iter_mut().filter(|(producer, _)| is_there(producer)) {
            let before = then.get(producer).map_or(&[][..], Vec::as_slice);
            for (at, promise) in promises.iter_mut().enumerate() {
                if *promise == Promise::Kept && before.get(at) != Some(&Promise::Kept) {
                    *promise = Promise::None;
                }
            }
        }
    }
}

/// The text of a record: `<producer> <n> <category> <checksum> <filler>`.
pub fn text(producer: &str, n: u64, category: &str) -> String {
    let mut text = format!("{producer} {n} {category}");
    let crc = crc32c::crc32c(text.as_bytes());
    let filler = "0123456789abcdef".chars().cycle().skip(crc as usize % 16).take(crc as usize % 60);
    write!(text, " {crc:08x} ").expect("a text takes all");
    text.extend(filler);
    text
}

/// Producer, number and category of a text; `None` if it is damaged.
pub fn parse(found: &str) -> Option<(&str, u64, &str)> {
    let mut parts = found.split(' ');
    let (producer, n, category) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    (text(producer, n, category) == found).then_some((producer, n, category))
}
