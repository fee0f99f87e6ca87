//! The completeness ledger: is every record of a table there, exactly once, and if not, which are not and why?
//!
//! Each record has a number in its stream, without gaps, from 0 ([`logboom_wire::Header::first_record`]). So what the table
//! should have can be told from what it has: every number up to the greatest. A number may be missing where a loss record
//! ([`logboom_wire::loss`]) or a block that was set aside says so; anything else is a fault. What cannot be told from a
//! table is what lies beyond the greatest number of a stream: see `docs/verify.md`.
//!
//! Only a snapshot is read, so it may run beside collectors and maintenance, except that vacuum may take away files of an old
//! version under its eyes. Memory is that of the sets of numbers: next to nothing for streams without gaps, at most a bit
//! for each row of the files that are being read.

mod file;
mod json;
mod ledger;
mod pass;
mod removed;
mod report;
mod rows;
mod seqs;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use logboom_wire::{Block, StreamId};
use object_store::ObjectStoreExt;
use object_store::path::Path;

pub use file::Fault;
pub use removed::{RETENTION, Removed};
pub use report::{Doubled, End, FileReport, Held, HostReport, Missing, Report, StreamReport, TableReport};

use crate::object::Object;
use crate::paths::{Name, REJECTED_FOLDER};
use crate::table::{Snapshot, SnapshotFile, streams_of};
use crate::{Error, FileFormat, Store};
use file::{Checked, check};
use ledger::Ledger;
use pass::Wanted;

/// Files that are read at a time.
const AT_ONCE: usize = 4;
/// Rows whose time and file are looked up for the report.
const SOUGHT_MAX: usize = 10_000;

/// What is asked for. The default is everything.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this host.
    pub host: Option<String>,
    /// Only this stream.
    pub stream: Option<StreamId>,
    /// Only what was observed from this time on, in microseconds since 1970.
    pub since: Option<i64>,
    /// Only what was observed before this time, in microseconds since 1970.
    pub until: Option<i64>,
    /// This version of the table; `None` is the newest.
    pub version: Option<u64>,
    /// Ask only whether files are there, how long they are and which rows they have: do not read all of their bytes.
    pub quick: bool,
}

impl Scope {
    fn observed(&self) -> Option<Range<i64>> {
        (self.since.is_some() || self.until.is_some())
            .then(|| self.since.unwrap_or(i64::MIN)..self.until.unwrap_or(i64::MAX))
    }

    fn takes_host(&self, host: &str) -> bool {
        self.host.as_deref().is_none_or(|wanted| wanted == host)
    }

    fn takes(&self, host: &str, stream: StreamId) -> bool {
        self.takes_host(host) && self.stream.is_none_or(|wanted| wanted == stream)
    }

    /// Whether `file` may have rows that are asked for, by what the log says about it.
    fn may_take(&self, file: &SnapshotFile) -> bool {
        let Some(stats) = &file.stats else { return true };
        let host = self.host.as_ref().zip(stats.host.as_ref());
        let time = self.observed().zip(stats.observed_timestamp);
        host.is_none_or(|(host, (least, greatest))| least <= host && host <= greatest)
            && time.is_none_or(|(range, (least, greatest))| least < range.end && range.start <= greatest)
    }
}

/// How far a verification has come. May be looked at from elsewhere.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
}

impl Progress {
    /// Bytes that were read, and that are to be read as far as known.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_done.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }

    fn expect_bytes(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A file and the table that it belongs to.
#[derive(Clone)]
struct Source {
    store: Store,
    format: FileFormat,
    file: SnapshotFile,
}

/// Verifies the table at `stores`. There may be several places, if a collector has several: a record is in one of them.
///
/// # Errors
/// A table cannot be opened, or a store cannot be asked. What is wrong with files is in the report.
pub async fn verify(stores: &[Store], scope: &Scope, progress: &Arc<Progress>) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut ledger = Ledger::default();
    let (mut asked, mut others) = (Vec::new(), Vec::new());
    for store in stores {
        let snapshot = match scope.version {
            Some(version) => Snapshot::load_at(store, version).await?,
            None => Snapshot::load(store).await?,
        };
        let (taken, left): (Vec<_>, Vec<_>) = snapshot.files.into_iter().partition(|file| scope.may_take(file));
        report.tables.push(TableReport {
            url: store.url().to_string(),
            version: snapshot.version,
            files: taken.len() as u64,
            bytes: taken.iter().map(|file| file.size).sum(),
            summed: taken.iter().filter(|file| !scope.quick && file.crc32c.is_some()).count() as u64,
        });
        let source = |file| Source { store: store.clone(), format: snapshot.format, file };
        asked.extend(taken.into_iter().map(source));
        others.extend(left.into_iter().map(source));
        allow_rejected(store, &mut ledger).await?;
    }
    let wanted = Wanted { stream: scope.stream, observed: scope.observed(), ..Wanted::default() };
    read_all(&asked, !scope.quick, &wanted, progress, &mut ledger, &mut report).await?;
    report.hosts = ledger.judge(scope);
    if report.unexplained() > 0 && !others.is_empty() {
        // What seems to be missing may lie in files that seemed to have nothing to do with the question, and so may
        // the record that explains it.
        read_all(&others, false, &wanted, progress, &mut ledger, &mut report).await?;
        report.hosts = ledger.judge(scope);
    }
    if report.unexplained() > 0 {
        asked.extend(others);
    }
    locate(&asked, &mut report).await?;
    name_ends(stores, &ledger, &mut report).await?;
    report.complete = report.unexplained() == 0 && report.doubled() == 0 && report.files.is_empty();
    Ok(report)
}

/// Blocks that a collector could not read are not in the table, but are not lost either.
async fn allow_rejected(store: &Store, ledger: &mut Ledger) -> Result<(), Error> {
    let folder = Path::from(REJECTED_FOLDER);
    let failed = |source| Error::store("listing", REJECTED_FOLDER, source);
    let listed: Vec<_> = store.objects().list(Some(&folder)).try_collect().await.map_err(failed)?;
    for meta in listed {
        let Some(name @ Name::Rejected { .. }) = Name::parse(meta.location.as_ref()) else { continue };
        let failed = |source| Error::store("reading", name, source);
        let bytes = store.objects().get(&meta.location).await.map_err(failed)?.bytes().await.map_err(failed)?;
        let Ok(block) = Block::parse(bytes) else { continue };
        let header = block.header();
        if let Some(last) = (header.first_record + header.records()).checked_sub(1)
            && last >= header.first_record
        {
            ledger.allow(header.stream, &header.host, header.first_record, last, &format!("set aside as {name}"));
        }
    }
    Ok(())
}

/// Reads files into the ledger; those with a fault go to the report instead.
async fn read_all(
    sources: &[Source],
    whole: bool,
    wanted: &Wanted,
    progress: &Arc<Progress>,
    ledger: &mut Ledger,
    report: &mut Report,
) -> Result<(), Error> {
    progress.expect_bytes(sources.iter().map(|source| source.file.size).sum());
    let checks = sources.iter().cloned().map(|source| {
        let (progress, mut wanted) = (progress.clone(), wanted.clone());
        // Whoever else rewrote a file promised no order.
        wanted.sorted = source.file.crc32c.is_some();
        let checking = tokio::spawn(async move {
            let checked = check(&source.store, source.format, &source.file, whole, &wanted, &progress).await;
            if !whole {
                progress.add_bytes(source.file.size);
            }
            checked.map(|checked| (source, checked))
        });
        async { checking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) }
    });
    let mut checks = futures::stream::iter(checks).buffer_unordered(AT_ONCE);
    while let Some((Source { store, file, .. }, Checked { rows, fault })) = checks.try_next().await? {
        match (fault, rows) {
            (None, Some(rows)) => ledger.add(rows),
            (None, None) => unreachable!("what has no rows has a fault"),
            (Some(fault), rows) => {
                let stats = file.stats.as_ref();
                let held = rows.into_iter().flat_map(|rows| rows.parts).filter_map(|(stream, part)| {
                    let (first, last) = part.seqs.first().zip(part.seqs.last())?;
                    Some(Held { host: part.host, stream, first, last, records: part.seqs.len() })
                });
                report.files.push(FileReport {
                    table: store.url().to_string(),
                    fault,
                    records: stats.map(|stats| stats.records),
                    hosts: stats.and_then(|stats| stats.host.clone()),
                    times: stats.and_then(|stats| stats.observed_timestamp),
                    held: held.collect(),
                    ends: Vec::new(),
                    path: file.path,
                });
            }
        }
    }
    report.files.sort_by(|a, b| (&a.table, &a.path).cmp(&(&b.table, &b.path)));
    Ok(())
}

/// Says of files that cannot be read which streams may have ended in them: that end leaves no gap.
async fn name_ends(stores: &[Store], ledger: &Ledger, report: &mut Report) -> Result<(), Error> {
    for (store, table) in stores.iter().zip(&report.tables) {
        let unread = |file: &&mut FileReport| file.table == table.url && file.held.is_empty();
        let paths = report.files.iter_mut().filter(unread).map(|file| file.path.clone()).collect();
        let streams = streams_of(store, table.version, paths).await?;
        for file in report.files.iter_mut().filter(unread) {
            let ends = streams.get(&file.path).into_iter().flatten().map(|stream| {
                let (host, last) = ledger.end(*stream);
                End { host, stream: *stream, last }
            });
            file.ends = ends.collect();
        }
    }
    Ok(())
}

/// Looks up when the rows around a gap that has no reason were observed, and which files hold what is there more than
/// once.
async fn locate(sources: &[Source], report: &mut Report) -> Result<(), Error> {
    let mut sought: BTreeMap<StreamId, BTreeSet<u64>> = BTreeMap::new();
    let mut count = 0;
    for (_, stream) in report.streams() {
        let gaps = stream
            .missing
            .iter()
            .filter(|gap| gap.reason.is_none())
            .flat_map(|gap| [gap.first.checked_sub(1), gap.last.checked_add(1)]);
        let doubled = stream.doubled.iter().flat_map(|range| [Some(range.first), Some(range.last)]);
        let seqs: BTreeSet<u64> = gaps.chain(doubled).flatten().take(SOUGHT_MAX - count).collect();
        count += seqs.len();
        if !seqs.is_empty() {
            sought.insert(stream.stream, seqs);
        }
    }
    if sought.is_empty() {
        return Ok(());
    }
    let bad: BTreeSet<(String, String)> =
        report.files.iter().map(|file| (file.table.clone(), file.path.clone())).collect();
    let sought = Arc::new(sought);
    let sound =
        sources.iter().filter(|source| !bad.contains(&(source.store.url().to_string(), source.file.path.clone())));
    let searches = sound.cloned().map(|Source { store, format, file }| {
        let sought = sought.clone();
        let searching = tokio::spawn(async move {
            // It could be read a moment ago; where it cannot now, the report says less.
            let rows = match format {
                FileFormat::Parquet => {
                    let path = Path::from(file.path.as_str());
                    let object = Object::new(store.objects().clone(), path, file.size);
                    rows::locate(object, &sought).await.unwrap_or_default()
                }
                FileFormat::Json => json::locate(&store, &file, &sought).await.unwrap_or_default(),
            };
            (rows, file.path)
        });
        async { searching.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) }
    });
    let mut found: BTreeMap<(StreamId, u64), (i64, BTreeSet<String>)> = BTreeMap::new();
    let mut searches = futures::stream::iter(searches).buffer_unordered(AT_ONCE);
    while let Some((rows, path)) = searches.next().await {
        for (stream, seq, observed) in rows {
            found.entry((stream, seq)).or_insert_with(|| (observed, BTreeSet::new())).1.insert(path.clone());
        }
    }
    for stream in report.hosts.iter_mut().flat_map(|host| &mut host.streams) {
        let time = |seq: Option<u64>| Some(found.get(&(stream.stream, seq?))?.0);
        for gap in &mut stream.missing {
            let (before, after) = (time(gap.first.checked_sub(1)), time(gap.last.checked_add(1)));
            // Within a block numbers go by category, and not by time.
            gap.between = match before.zip(after) {
                Some((before, after)) => (Some(before.min(after)), Some(before.max(after))),
                None => (before, after),
            };
        }
        for range in &mut stream.doubled {
            let files = [range.first, range.last].into_iter().filter_map(|seq| found.get(&(stream.stream, seq)));
            range.files = files.flat_map(|(_, files)| files.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        }
    }
    Ok(())
}
