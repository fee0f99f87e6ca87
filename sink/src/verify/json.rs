//! What an index lists: are the files there, as long as they must be, and are their records what the index says?
//!
//! Of a file in JSON each byte has to be read to know its rows, and is held against the checksums of the index on the way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use logboom_wire::{StreamId, loss};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::errors::ParquetError;

use super::Progress;
use super::ledger::Loss;
use super::pass::{COLUMNS, Columns, FileRows, LOSS_COLUMNS, Pass, Wanted, losses_of};
use crate::json::{Member, MemberReader, read_index};
use crate::schema::file_schema;
use crate::table::{FileStats, SnapshotFile};
use crate::{Error, Store};

/// Rows that are decoded at a time, and the bytes that they may take.
const BATCH_ROWS: u64 = 16 << 10;
const BATCH_BYTES: u64 = 8 << 20;

/// What was read of the files that an index lists, and what is wrong with the first that is not as it should be.
pub(super) struct Read {
    pub rows: FileRows,
    pub fault: Option<String>,
}

/// Reads what the index `file` lists.
///
/// # Errors
/// The store cannot be asked, which says nothing about the files.
pub(super) async fn read(
    store: &Store,
    file: &SnapshotFile,
    wanted: &Wanted,
    progress: Option<&Progress>,
) -> Result<Read, Error> {
    let members = match read_index(&**store.objects(), &file.path, file.size).await {
        Err(Error::BadIndex { reason, .. }) => return Ok(Read { rows: FileRows::default(), fault: Some(reason) }),
        members => members?,
    };
    if let Some(progress) = progress {
        progress.expect_bytes(members.iter().map(|member| member.length).sum());
    }
    let mut fault = file.stats.as_ref().and_then(|log| unlike(log, &members));
    let mut pass = Pass::new(wanted, None);
    let mut losses = Vec::new();
    for members in members.chunk_by(|a, b| a.path == b.path) {
        let found = match length_of(store, members).await? {
            Some(reason) => Some(reason),
            None => explained(read_file(store, members, wanted, &mut pass, &mut losses).await)?,
        };
        fault = fault.or(found);
        if let Some(progress) = progress {
            progress.add_bytes(members.iter().map(|member| member.length).sum());
        }
    }
    let mut rows = pass.end();
    rows.losses = losses;
    Ok(Read { rows, fault })
}

/// Where the log says something else than the index.
fn unlike(log: &FileStats, members: &[Member]) -> Option<String> {
    if log.members.is_some_and(|expected| expected != members.len() as u64) {
        let expected = log.members.unwrap_or_default();
        return Some(format!("it lists {} members where the log has {expected}", members.len()));
    }
    let mut stats = FileStats::default();
    members.iter().for_each(|member| stats.extend(&member.stats));
    let inside = |outer: &FileStats, inner: &FileStats| {
        let mut both = outer.clone();
        both.extend(inner);
        // A bound that the log does not know bounds nothing.
        (outer.timestamp.is_none() || both.timestamp == outer.timestamp)
            && (outer.observed_timestamp.is_none() || both.observed_timestamp == outer.observed_timestamp)
            && (outer.category.is_none() || both.category == outer.category)
            && (outer.host.is_none() || both.host == outer.host)
    };
    (!inside(log, &stats))
        .then(|| "it lists records outside of the bounds that the log has: readers pass it over".into())
}

/// What is wrong with the length of the file that these members are in.
async fn length_of(store: &Store, members: &[Member]) -> Result<Option<String>, Error> {
    let path = &*members[0].path;
    let expected = members.iter().map(|member| member.offset + member.length).max().unwrap_or_default();
    match store.objects().head(&Path::from(path)).await {
        Ok(meta) if meta.size == expected => Ok(None),
        Ok(meta) => Ok(Some(format!("`{path}` has {} bytes where its index has {expected}", meta.size))),
        Err(object_store::Error::NotFound { .. }) => Ok(Some(format!("`{path}` is missing"))),
        Err(source) => Err(Error::store("reading", path, source)),
    }
}

/// Reads one file in JSON.
async fn read_file<'a>(
    store: &Store,
    members: &'a [Member],
    wanted: &Wanted,
    pass: &mut Pass<'a>,
    losses: &mut Vec<Loss>,
) -> Result<(), Error> {
    let is_loss = |member: &&Member| category_of(member) == loss::CATEGORY;
    let is_wanted = |member: &&Member| {
        wanted.categories.as_ref().is_none_or(|wanted| wanted.contains(category_of(member))) || is_loss(member)
    };
    let asked: Vec<&Member> = members.iter().filter(is_wanted).collect();
    let mut bounds = asked.iter().flat_map(|member| std::iter::repeat_n(&member.stats, member.stats.records as usize));
    let bad = |reason: String| Error::Unreadable { path: members[0].path.to_string(), reason };
    let owned: Vec<Member> = asked.iter().map(|member| (*member).clone()).collect();
    let mut reader = reader(store, &owned, &COLUMNS);
    while let Some(batch) = reader.next().await? {
        let mut take = || {
            let columns = Columns::of(&batch)?;
            for row in 0..batch.num_rows() {
                // The reader has seen that there are as many.
                if let Some(stats) = bounds.next() {
                    pass.within(stats);
                }
                pass.row(&columns, row)?;
            }
            Ok(())
        };
        take().map_err(|error| bad(text_of(error)))?;
    }
    let told: Vec<Member> = members.iter().filter(is_loss).cloned().collect();
    let mut reader = self::reader(store, &told, &LOSS_COLUMNS);
    while let Some(batch) = reader.next().await? {
        losses_of(&batch, losses).map_err(|error| bad(text_of(error)))?;
    }
    Ok(())
}

fn category_of(member: &Member) -> &str {
    member.stats.category.as_ref().map_or("", |(category, _)| category)
}

fn reader(store: &Store, members: &[Member], columns: &[&str]) -> MemberReader {
    let schema = file_schema();
    let indices: Vec<usize> = columns.iter().map(|name| schema.index_of(name).expect("it is a column")).collect();
    let wanted: SchemaRef = Arc::new(schema.project(&indices).expect("indices of its own"));
    MemberReader::new(store.objects().clone(), members, wanted, BATCH_ROWS, BATCH_BYTES)
}

/// What is wrong, unless it is the store that cannot be asked.
fn explained(result: Result<(), Error>) -> Result<Option<String>, Error> {
    match result {
        Ok(()) => Ok(None),
        Err(Error::Store { object, source: object_store::Error::NotFound { .. }, .. }) => {
            Ok(Some(format!("`{object}` is missing")))
        }
        Err(Error::Unreadable { path, reason }) => Ok(Some(format!("`{path}`: {reason}"))),
        Err(error @ Error::BadMember { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

fn text_of(error: ParquetError) -> String {
    match error {
        ParquetError::General(reason) => reason,
        error => error.to_string(),
    }
}

/// Where the rows with these numbers are: for each, the observed time. Numbers by stream.
pub(super) async fn locate(
    store: &Store,
    file: &SnapshotFile,
    sought: &BTreeMap<StreamId, BTreeSet<u64>>,
) -> Result<Vec<(StreamId, u64, i64)>, Error> {
    let members = read_index(&**store.objects(), &file.path, file.size).await?;
    let texts: HashMap<String, (StreamId, &BTreeSet<u64>)> =
        sought.iter().map(|(stream, seqs)| (stream.to_string(), (*stream, seqs))).collect();
    let mut found = Vec::new();
    let mut reader = reader(store, &members, &COLUMNS);
    while let Some(batch) = reader.next().await? {
        let bad = |error| Error::Unreadable { path: file.path.clone(), reason: text_of(error) };
        Columns::of(&batch).map_err(bad)?.find(&texts, &mut found);
    }
    Ok(found)
}
