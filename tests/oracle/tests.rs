//! The oracle is judged: it must find every fault that is fabricated here, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::date;
use logboom_config::{Globs, Sink};
use logboom_sink::table::{Batch, Outcome, TableOptions, View, commit};
use logboom_sink::{FileFormat, FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Rows, RunKey, StreamId};
use tempfile::TempDir;

use super::{Ledger, Record, Table, Verdict, judge};

/// A table into which lines are put behind the pipeline's back.
struct Fabricated {
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
    store: Store,
    view: View,
    number: u64,
}

impl Fabricated {
    fn new() -> Self {
        Self::of(FileFormat::Parquet)
    }

    fn of(format: FileFormat) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let store = Store::open(&folder.path().join("store").to_string_lossy(), &BTreeMap::new()).unwrap();
        let options = TableOptions { format, ..TableOptions::default() };
        let view = runtime.block_on(View::open_or_create(&store, &options)).unwrap();
        Self { folder, runtime, store, view, number: 0 }
    }

    /// Commits `lines` as the records from `first_record` on of one stream.
    fn commit(&mut self, first_record: u64, lines: &[String]) {
        self.number += 1;
        let stream = StreamId::from_bytes([7; 16]);
        let key = RunKey { category: "c".into(), source: "s".into(), attributes: vec![] };
        let mut rows = Rows::default();
        lines.iter().for_each(|line| rows.push_line(1, line.as_bytes()));
        let place = BlockPlace { stream, number: self.number, first_record, host: "h" };
        let block = Encoder::default().encode(place, [(Arc::new(key), rows)], vec![]).unwrap();
        let settings = FileSettings {
            format: self.view.format(),
            target_file_size: 1 << 20,
            row_group_rows: 1024,
            ..FileSettings::from(&Sink::at("memory://"))
        };
        self.runtime.block_on(async {
            let begun = self.view.begin_files();
            let files = merge(&self.store, &[block], date(2026, 2, 3), &settings).await.unwrap();
            let batch = Batch { files: &files, marks: &[(stream, self.number)], begun };
            assert!(matches!(commit(&mut self.view, batch).await.unwrap(), Outcome::Committed { .. }));
        });
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// What the log names, and the JSON files behind it.
    fn data_files(&self) -> Vec<PathBuf> {
        let list = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let is_day = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("date=");
        let days = list(self.store()).chain(list(self.store().join("_json"))).filter(is_day);
        days.flat_map(list).collect()
    }

    fn judge(&self, ledger: &Ledger) -> Verdict {
        judge(ledger, &mut Table::at(&self.store()), &[self.spool()])
    }
}

/// A ledger with one producer that was promised records 1 to 3, nothing about 4, and refused 5.
fn ledger() -> Ledger {
    let ledger = Ledger::default();
    let account = ledger.open("p");
    for _ in 0..5 {
        account.next();
    }
    account.acknowledged(1, 3);
    account.refused(5, 1);
    ledger
}

fn line(n: u64) -> String {
    Record::new("p", n, 40).to_string()
}

#[test]
fn the_oracle_is_content_with_what_was_promised_with_and_without_what_was_not() {
    for (last, rows, format) in [(3, 3, FileFormat::Parquet), (4, 4, FileFormat::Parquet), (4, 4, FileFormat::Json)] {
        let mut table = Fabricated::of(format);
        table.commit(0, &(1..=last).map(line).collect::<Vec<_>>());
        let verdict = table.judge(&ledger());
        verdict.assert_clean("promised");
        assert_eq!((verdict.sent, verdict.acknowledged, verdict.refused, verdict.rows), (5, 3, 1, rows));
    }
}

#[test]
fn the_oracle_finds_a_lost_record() {
    let mut table = Fabricated::new();
    table.commit(0, &[line(1), line(3)]);
    assert_eq!(table.judge(&ledger()).counters(), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn the_oracle_finds_a_record_that_was_taken_in_twice() {
    let mut table = Fabricated::new();
    table.commit(0, &[line(1), line(2), line(3)]);
    table.commit(3, &[line(2)]);
    assert_eq!(table.judge(&ledger()).counters(), [0, 1, 0, 0, 0, 0]);
}

#[test]
fn the_oracle_finds_a_block_that_was_committed_twice() {
    for format in [FileFormat::Parquet, FileFormat::Json] {
        let mut table = Fabricated::of(format);
        table.commit(0, &[line(1), line(2), line(3)]);
        table.commit(0, &[line(1), line(2), line(3)]);
        assert_eq!(table.judge(&ledger()).counters(), [0, 3, 0, 0, 0, 0]);
    }
}

#[test]
fn the_oracle_finds_records_that_nobody_sent_and_one_that_was_refused() {
    let mut table = Fabricated::new();
    table.commit(0, &[line(0), line(1), line(2), line(3), line(6), line(5), Record::new("q", 1, 40).to_string()]);
    assert_eq!(table.judge(&ledger()).counters(), [0, 0, 4, 0, 0, 0]);
}

#[test]
fn the_oracle_finds_rows_in_the_wrong_table() {
    let (mut right, mut wrong) = (Fabricated::new(), Fabricated::new());
    right.commit(0, &[line(1), line(2)]);
    wrong.commit(2, &[line(3)]);
    let judge_with = |default: &Fabricated, route: &Fabricated| {
        let routes = vec![(Globs::new(["c"]).unwrap(), route.store())];
        judge(&ledger(), &mut Table::at(&default.store()).with_routes(routes), &[]).counters()
    };
    assert_eq!(judge_with(&wrong, &right), [0, 0, 1, 0, 0, 0]);
    assert_eq!(judge_with(&right, &wrong), [0, 0, 2, 0, 0, 0]);
}

#[test]
fn the_oracle_finds_damaged_text() {
    let mut table = Fabricated::new();
    let mut cut = line(4);
    cut.pop();
    table.commit(0, &[line(1), line(2), line(3), cut, line(4).replacen('4', "5", 1), line(4) + " ", String::new()]);
    assert_eq!(table.judge(&ledger()).counters(), [0, 0, 0, 4, 0, 0]);
}

#[test]
fn the_oracle_finds_a_file_that_is_gone_or_damaged() {
    for damage in [|path: &PathBuf| fs::remove_file(path).unwrap(), |path: &PathBuf| fs::write(path, "PAR1").unwrap()] {
        let mut table = Fabricated::new();
        table.commit(0, &[line(1), line(2), line(3)]);
        let before = table.data_files();
        table.commit(3, &[line(4)]);
        damage(&before[0]);
        assert_eq!(table.judge(&ledger()).counters(), [3, 0, 0, 0, 1, 0]);
    }
}

#[test]
fn the_oracle_finds_a_json_file_or_its_index_that_is_gone_or_damaged() {
    for damage in [|path: &PathBuf| fs::remove_file(path).unwrap(), |path: &PathBuf| fs::write(path, "PAR1").unwrap()] {
        for file in 0..2 {
            let mut table = Fabricated::of(FileFormat::Json);
            table.commit(0, &[line(1), line(2), line(3)]);
            let before = table.data_files();
            assert_eq!(before.len(), 2);
            table.commit(3, &[line(4)]);
            damage(&before[file]);
            assert_eq!(table.judge(&ledger()).counters(), [3, 0, 0, 0, 1, 0]);
        }
    }
}

#[test]
fn the_oracle_finds_what_is_stuck_in_a_spool() {
    let mut table = Fabricated::new();
    table.commit(0, &[line(1), line(2), line(3)]);
    let stream = table.spool().join("0123");
    fs::create_dir_all(&stream).unwrap();
    fs::write(stream.join("00000000000000000001.seg"), "x").unwrap();
    assert_eq!(table.judge(&ledger()).counters(), [0, 0, 0, 0, 0, 1]);
}
