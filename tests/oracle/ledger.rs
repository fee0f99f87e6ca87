//! What was sent, and what was promised about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a producer knows of a record that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing: it may be in the table once, or not at all.
    None,
    /// It is durable, so it has to be in the table.
    Acknowledged,
    /// It was refused, so it must not be.
    Refused,
}

/// The account of one producer. It numbers its records from 1 and never sends a number twice.
#[derive(Debug)]
pub struct Account {
    producer: String,
    promises: Mutex<Vec<Promise>>,
}

impl Account {
    /// The producer's name.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// The number of the record that is about to be sent. Call it before the first byte leaves.
    pub fn next(&self) -> u64 {
        let mut promises = self.promises.lock().unwrap();
        promises.push(Promise::None);
        promises.len() as u64
    }

    /// Records `first` and the `count - 1` after it are durable.
    pub fn acknowledged(&self, first: u64, count: u64) {
        self.promise(first, count, Promise::Acknowledged);
    }

    /// Records `first` and the `count - 1` after it were refused.
    pub fn refused(&self, first: u64, count: u64) {
        self.promise(first, count, Promise::Refused);
    }

    fn promise(&self, first: u64, count: u64, promise: Promise) {
        let mut promises = self.promises.lock().unwrap();
        for known in &mut promises[first as usize - 1..(first + count) as usize - 1] {
            assert_eq!(*known, Promise::None, "{} was told twice about a record of {first}..+{count}", self.producer);
            *known = promise;
        }
    }

    /// Records sent.
    pub fn sent(&self) -> u64 {
        self.promises.lock().unwrap().len() as u64
    }

    /// Records with this promise.
    pub fn count(&self, promise: Promise) -> u64 {
        self.promises.lock().unwrap().iter().filter(|known| **known == promise).count() as u64
    }

    /// A copy of all promises, by number less 1.
    pub fn promises(&self) -> Vec<Promise> {
        self.promises.lock().unwrap().clone()
    }
}

/// The accounts of all producers of a test.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, Arc<Account>>>);

impl Ledger {
    /// Opens the account of a new producer, whose name has no spaces.
    pub fn open(&self, producer: impl Into<String>) -> Arc<Account> {
        let producer = producer.into();
        let account = Arc::new(Account { producer: producer.clone(), promises: Mutex::default() });
        let before = self.0.lock().unwrap().insert(producer, account.clone());
        assert!(before.is_none(), "two producers of one name");
        account
    }

    /// All accounts, by producer.
    pub fn accounts(&self) -> BTreeMap<String, Arc<Account>> {
        self.0.lock().unwrap().clone()
    }

    /// Records sent by all.
    pub fn sent(&self) -> u64 {
        self.accounts().values().map(|account| account.sent()).sum()
    }

    /// Records of all with this promise.
    pub fn count(&self, promise: Promise) -> u64 {
        self.accounts().values().map(|account| account.count(promise)).sum()
    }
}
