//! Retention: rows go when they are too old for their category.
//!
//! A row's age counts from the end of the day that is its partition, the day on which a collector wrote it: not from its
//! timestamp, which any host may set. A file of which all rows are past is only taken out of the table; one of which some
//! are is written anew without them. Whether it has such rows is read from its own categories.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::StringArray;
use arrow_array::cast::AsArray;
use arrow_schema::FieldRef;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use logboom_config::Globs;

use super::compact::committed;
use super::input::read_columns;
use super::rewrite::{Order, Rewritten, pieces, rewrite};
use super::{Control, Settings, open};
use crate::json::read_index;
use crate::table::{DataFile, FileStats, Operation, Outcome, Rewrite, Snapshot, SnapshotFile, View, commit};
use crate::thread::on_own_thread;
use crate::verify::Removed;
use crate::{Error, FileFormat, Store};

/// How long rows are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The first rule whose globs match a category is the one for it.
    pub rules: Vec<RetentionRule>,
    /// What no rule matches is kept for so long; for ever if absent.
    pub max_age: Option<Duration>,
}

/// How long rows of some categories are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Globs of categories.
    pub categories: Globs,
    /// From the end of their day on.
    pub max_age: Duration,
}

impl From<&logboom_config::Sink> for Retention {
    fn from(sink: &logboom_config::Sink) -> Self {
        let rule = |rule: &logboom_config::RetentionRule| RetentionRule {
            categories: rule.categories.clone(),
            max_age: rule.max_age,
        };
        Self { rules: sink.retention_rules.iter().map(rule).collect(), max_age: sink.retention }
    }
}

impl Retention {
    /// How long rows of this category are kept.
    fn max_age(&self, category: &str) -> Option<Duration> {
        let rule = self.rules.iter().find(|rule| rule.categories.matches(category));
        rule.map_or(self.max_age, |rule| Some(rule.max_age))
    }

    /// Whether there may be rows of this day that are past, and whether all must be.
    fn of_day(&self, date: Date, now: Timestamp) -> (bool, bool) {
        let ages = || self.rules.iter().map(|rule| Some(rule.max_age)).chain([self.max_age]);
        let past = |age: Option<Duration>| age.is_some_and(|age| is_past(date, age, now));
        (ages().any(past), ages().all(past))
    }

    fn keeps(&self, category: &str, date: Date, now: Timestamp) -> bool {
        self.max_age(category).is_none_or(|age| !is_past(date, age, now))
    }
}

/// Whether rows of this day are older than this.
fn is_past(date: Date, age: Duration, now: Timestamp) -> bool {
    let end = date.tomorrow().ok().and_then(|next| next.to_zoned(TimeZone::UTC).ok()).map(|end| end.timestamp());
    let age = jiff::SignedDuration::try_from(age).ok();
    end.zip(age).and_then(|(end, age)| end.checked_add(age).ok()).is_some_and(|goes| goes <= now)
}

/// What a retention has done, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Files that were taken out of the table as a whole.
    pub files_removed: u64,
    /// Files that were written anew without some of their rows.
    pub files_rewritten: u64,
    /// Rows that went; with a dry run, of whole files only.
    pub rows_removed: u64,
    /// Bytes that went; with a dry run, of whole files only. Vacuum frees them when their grace is over.
    pub bytes_removed: u64,
    /// Races that others won; what they have to do with is left to the next time.
    pub conflicts: u32,
}

/// Takes out of the table what is past. With `dry_run`, only says what that is.
///
/// # Errors
/// If the table cannot be read or written, or a file is damaged. What was committed before stays.
pub async fn retain(store: &Store, settings: &Settings, dry_run: bool, control: &Control) -> Result<Retained, Error> {
    let mut done = Retained::default();
    if settings.retention == Retention::default() {
        return Ok(done);
    }
    let now = settings.table.clock.now().wall;
    let (view, settings) = &open(store, settings).await?;
    let snapshot = Snapshot::load_at(store, view.version()).await?;
    let (mut whole, mut some) = (Vec::new(), Vec::new());
    let Snapshot { files, columns, format, .. } = snapshot;
    for file in files {
        control.check()?;
        let (any_past, all_past) = settings.retention.of_day(file.date, now);
        if all_past {
            whole.push(file);
            continue;
        }
        if !any_past {
            continue;
        }
        let (kept, gone): (BTreeSet<String>, BTreeSet<String>) = categories(store, format, &file)
            .await?
            .into_iter()
            .partition(|category| settings.retention.keeps(category, file.date, now));
        match (kept.is_empty(), gone.is_empty()) {
            (true, _) => whole.push(file),
            (false, false) => some.push((file, gone)),
            (false, true) => {}
        }
    }
    whole.sort_by_key(|file| file.date);
    for files in whole.chunk_by(|a, b| a.date == b.date) {
        let mut went = (0, 0);
        for file in files {
            let (rows, bytes) = contents(store, format, file).await;
            went = (went.0 + rows, went.1 + bytes);
        }
        let outcome = match dry_run {
            true => Outcome::Committed { version: 0 },
            false => {
                let begun = view.begin_files();
                let told = tell(store, settings, files, None, now).await?;
                let change = Rewrite { begun, ..of(view, files, &told) };
                let mut of_this = view.clone();
                let outcome = commit(&mut of_this, change).await?;
                committed(store, settings, &of_this, outcome).await;
                outcome
            }
        };
        match outcome {
            Outcome::Committed { .. } => {
                done.files_removed += files.len() as u64;
                done.rows_removed += went.0;
                done.bytes_removed += went.1;
            }
            Outcome::Conflict => done.conflicts += 1,
        }
    }
    for (file, gone) in some {
        control.check()?;
        if dry_run {
            done.files_rewritten += 1;
            continue;
        }
        let (begun, went) = (view.begin_files(), contents(store, format, &file).await);
        let Rewritten { files: kept, bytes: bytes_kept } =
            without_past(store, settings, &columns, &file, now, control).await?;
        let told = tell(store, settings, std::slice::from_ref(&file), Some(&gone), now).await?;
        let add = [kept.as_slice(), told.as_slice()].concat();
        let change = |remove| Rewrite { begun, ..of(view, remove, &add) };
        let mut of_this = view.clone();
        let outcome = commit(&mut of_this, change(std::slice::from_ref(&file))).await?;
        committed(store, settings, &of_this, outcome).await;
        match outcome {
            Outcome::Committed { .. } => {
                done.files_rewritten += 1;
                let rows_kept: u64 = kept.iter().map(|file| file.stats.records).sum();
                done.rows_removed += went.0.saturating_sub(rows_kept);
                done.bytes_removed += went.1.saturating_sub(bytes_kept);
            }
            Outcome::Conflict => done.conflicts += 1,
        }
    }
    Ok(done)
}

/// Rows and bytes of a file, as far as they are known.
async fn contents(store: &Store, format: FileFormat, file: &SnapshotFile) -> (u64, u64) {
    let by_log = (file.stats.as_ref().map_or(0, |stats: &FileStats| stats.records), file.size);
    if format == FileFormat::Parquet {
        return by_log;
    }
    // It goes, whether it can be read or not.
    let Ok(members) = read_index(&**store.objects(), &file.path, file.size).await else { return by_log };
    members.iter().fold((0, 0), |(rows, bytes), member| (rows + member.stats.records, bytes + member.length))
}

fn of<'a>(view: &View, remove: &'a [SnapshotFile], add: &'a [DataFile]) -> Rewrite<'a> {
    Rewrite {
        operation: Operation::Retain,
        remove,
        add,
        compacted: remove.iter().all(|file| file.compacted),
        begun: view.begin_files(),
    }
}

/// Writes what tells of the rows that go, so that a verification does not take them for lost. It is of today.
async fn tell(
    store: &Store,
    settings: &Settings,
    files: &[SnapshotFile],
    categories: Option<&BTreeSet<String>>,
    now: Timestamp,
) -> Result<Vec<DataFile>, Error> {
    let today = now.to_zoned(TimeZone::UTC).date();
    match (Removed { files, categories, format: settings.files.format })
        .tell(store, today, now.as_microsecond(), &settings.files)
        .await
    {
        // What cannot be read is gone in any case, and that nobody can tell of it is to be seen.
        Err(error @ Error::Unreadable { .. }) => {
            tracing::warn!(%error, "records that are past go without a word of what they were");
            Ok(Vec::new())
        }
        told => told,
    }
}

/// The file's rows that are not past, in a file of their own.
async fn without_past(
    store: &Store,
    settings: &Settings,
    columns: &[FieldRef],
    file: &SnapshotFile,
    now: Timestamp,
    control: &Control,
) -> Result<Rewritten, Error> {
    let (on, with, by, file) = (store.clone(), settings.clone(), control.clone(), file.clone());
    let columns = columns.to_vec();
    let retention = Arc::new(settings.retention.clone());
    on_own_thread(async move {
        let date = file.date;
        let keep = |category: &str| retention.keeps(category, date, now);
        let pieces = pieces(file.size, with.compact_file_size);
        let order = Order { inputs: std::slice::from_ref(&file), date, columns: &columns, keep: Some(&keep), pieces };
        rewrite(&on, &with, &order, &by).await
    })
    .await
}

/// The categories in a file. From the log if they are one, else from the file itself.
async fn categories(store: &Store, format: FileFormat, file: &SnapshotFile) -> Result<BTreeSet<String>, Error> {
    let mut found = BTreeSet::new();
    if let Some((least, greatest)) = file.stats.as_ref().and_then(|stats| stats.category.as_ref())
        && least == greatest
    {
        found.insert(least.clone());
        return Ok(found);
    }
    if format == FileFormat::Json {
        let members = read_index(&**store.objects(), &file.path, file.size).await?;
        return Ok(members.into_iter().filter_map(|member| Some(member.stats.category?.0)).collect());
    }
    let add = |rows: &arrow_array::RecordBatch| {
        let categories: &StringArray = rows["category"].as_string_opt().ok_or("its column `category` is no text")?;
        let mut last = None;
        for category in categories.iter().flatten() {
            // Sorted, so that each comes in one run.
            if last != Some(category) && !found.contains(category) {
                found.insert(category.to_owned());
            }
            last = Some(category);
        }
        Ok(())
    };
    read_columns(store, format, &file.path, file.size, &["category"], add).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_day_is_past_when_its_end_is_as_old_as_that() {
        let past = |now: &str, age| is_past(date(2026, 2, 3), age, now.parse().unwrap());
        assert!(!past("2026-02-04T23:59:59Z", DAY) && past("2026-02-05T00:00:00Z", DAY));
        assert!(!past("2026-02-04T00:00:00Z", Duration::MAX), "longer than time is");
    }

    #[test]
    fn the_first_rule_that_matches_a_category_is_the_one_for_it() {
        let rule = |glob: &str, days| RetentionRule { categories: Globs::new([glob]).unwrap(), max_age: days * DAY };
        let retention = Retention { rules: vec![rule("debug.keep", 30), rule("debug.*", 2)], max_age: Some(10 * DAY) };
        let day = date(2026, 2, 1);
        let at = |text: &str| text.parse().unwrap();
        for (now, kept, of_day) in [
            ("2026-02-03T23:00:00Z", [true, true, true], (false, false)),
            ("2026-02-04T00:00:00Z", [true, false, true], (true, false)),
            ("2026-02-12T00:00:00Z", [true, false, false], (true, false)),
            ("2026-03-04T00:00:00Z", [false, false, false], (true, true)),
        ] {
            let keeps = ["debug.keep", "debug.x", "other"].map(|category| retention.keeps(category, day, at(now)));
            assert_eq!(keeps, kept, "{now}");
            assert_eq!(retention.of_day(day, at(now)), of_day, "{now}");
        }
        let for_ever = Retention { max_age: None, ..retention };
        assert!(for_ever.keeps("other", day, at("2999-01-01T00:00:00Z")));
        assert_eq!(for_ever.of_day(day, at("2999-01-01T00:00:00Z")), (true, false));
    }
}
