//! The judgement: what is in the table against what was promised.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ledger::{Ledger, Promise};
use super::record::Record;
use super::table::Table;

/// Examples that are kept of each fault.
const EXAMPLES: usize = 5;

/// What the oracle found. Clean is: all six counters are zero.
#[derive(Debug, Default)]
pub struct Verdict {
    pub lost: u64,
    pub duplicate: u64,
    pub phantom: u64,
    pub corrupt: u64,
    pub unreachable: u64,
    pub stuck: u64,
    /// Records that were sent, acknowledged and refused.
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    /// Rows in the table, and the files they are in.
    pub rows: u64,
    pub files: u64,
    examples: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.counters() == [0; 6]
    }

    /// Lost, duplicate, phantom, corrupt, unreachable, stuck.
    pub fn counters(&self) -> [u64; 6] {
        [self.lost, self.duplicate, self.phantom, self.corrupt, self.unreachable, self.stuck]
    }

    /// Prints the verdict, and fails unless it is clean.
    #[track_caller]
    pub fn assert_clean(&self, what: &str) {
        println!("{what}: {self}");
        assert!(self.is_clean(), "{what}: {self}");
    }

    fn note(&mut self, count: u64, example: impl FnOnce() -> String) {
        if count < EXAMPLES as u64 {
            self.examples.push(example());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lost, duplicate, phantom, corrupt, unreachable, stuck] = self.counters();
        write!(f, "lost {lost}, duplicate {duplicate}, phantom {phantom}, corrupt {corrupt}, ")?;
        write!(f, "unreachable {unreachable}, stuck {stuck}; {} sent, ", self.sent)?;
        write!(f, "{} acknowledged, {} refused, ", self.acknowledged, self.refused)?;
        write!(f, "{} rows in {} files", self.rows, self.files)?;
        for example in &self.examples {
            write!(f, "\n  {example}")?;
        }
        Ok(())
    }
}

/// Judges a table by a ledger, and the spools that should be empty by now.
pub fn judge(ledger: &Ledger, table: &mut Table, spools: &[PathBuf]) -> Verdict {
    // Promises first: what is promised after that may well be missing in the table that is read next.
    let promises: BTreeMap<_, _> =
        ledger.accounts().into_iter().map(|(name, account)| (name, account.promises())).collect();
    let mut verdict = Verdict::default();
    let mut seen: BTreeMap<&str, Vec<bool>> =
        promises.iter().map(|(name, promises)| (name.as_str(), vec![false; promises.len()])).collect();
    let mut places = Places::default();
    table.visit(|path, rows| {
        verdict.files += 1;
        let rows = match rows {
            Ok(rows) => rows,
            Err(reason) => {
                verdict.note(verdict.unreachable, || format!("unreachable: {path}: {reason}"));
                verdict.unreachable += 1;
                return;
            }
        };
        verdict.rows += rows.len() as u64;
        for row in rows.iter() {
            if !places.insert(&row.stream, row.seq) {
                verdict.note(verdict.duplicate, || format!("duplicate: {} {} in {path}", row.stream, row.seq));
                verdict.duplicate += 1;
                // The record in it is the same row once more; it is not counted twice.
                continue;
            }
            if row.misplaced {
                verdict.note(verdict.phantom, || format!("phantom: {:?} is in the wrong table, {path}", row.body));
                verdict.phantom += 1;
            }
            let Some(record) = Record::parse(&row.body) else {
                verdict.note(verdict.corrupt, || format!("corrupt: {:?} in {path}", row.body));
                verdict.corrupt += 1;
                continue;
            };
            let at = record.n.wrapping_sub(1) as usize;
            let promise = promises.get(&record.producer).and_then(|promises| promises.get(at));
            let Some(Promise::None | Promise::Acknowledged) = promise else {
                // Sent after the promises were taken down: not judged this time.
                let sent = ledger.accounts().get(&record.producer).map_or(0, |account| account.sent());
                if promise.is_some() || record.n == 0 || record.n > sent {
                    verdict.note(verdict.phantom, || format!("phantom: {} {}: {promise:?}", record.producer, record.n));
                    verdict.phantom += 1;
                }
                continue;
            };
            let seen = &mut seen.get_mut(record.producer.as_str()).expect("it has promises")[at];
            if std::mem::replace(seen, true) {
                verdict.note(verdict.duplicate, || format!("duplicate: {} {} in {path}", record.producer, record.n));
                verdict.duplicate += 1;
            }
        }
    });
    for (name, promises) in &promises {
        verdict.sent += promises.len() as u64;
        for (at, promise) in promises.iter().enumerate() {
            match promise {
                Promise::None => {}
                Promise::Refused => verdict.refused += 1,
                Promise::Acknowledged => {
                    verdict.acknowledged += 1;
                    if !seen[name.as_str()][at] {
                        verdict.note(verdict.lost, || format!("lost: {name} {}", at + 1));
                        verdict.lost += 1;
                    }
                }
            }
        }
    }
    for spool in spools {
        let segments = segments(spool);
        verdict.stuck += segments.len() as u64;
        verdict.examples.extend(segments.iter().take(EXAMPLES).map(|path| format!("stuck: {}", path.display())));
    }
    verdict
}

/// Which numbers of which streams were seen: a bit for each, since they have next to no gaps.
#[derive(Default)]
struct Places(HashMap<Arc<str>, BTreeMap<i64, u64>>);

impl Places {
    /// Whether it was not there yet.
    fn insert(&mut self, stream: &Arc<str>, seq: i64) -> bool {
        if !self.0.contains_key(stream) {
            self.0.insert(stream.clone(), BTreeMap::new());
        }
        let seen = self.0.get_mut(stream).expect("it is there").entry(seq.div_euclid(64)).or_default();
        let bit = 1 << seq.rem_euclid(64);
        let is_new = *seen & bit == 0;
        *seen |= bit;
        is_new
    }
}

/// The segments in a spool.
pub fn segments(spool: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let streams = list(spool).into_iter().filter(|path| path.file_name().is_none_or(|name| name != "quarantine"));
    streams.flat_map(|stream| list(&stream)).filter(is_segment).collect()
}
