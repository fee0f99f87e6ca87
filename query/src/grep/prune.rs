//! What cannot match: files by the log, row groups and pages by their bounds.
//!
//! Bounds may be wider than the records, never narrower.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::error::Result;
use logboom_config::Globs;
use logboom_sink::schema::file_schema;
use logboom_sink::table::{FileStats, SnapshotFile};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection};

use super::Grep;
use crate::when::TimeRange;

/// A condition on one column, in the order in which it pays to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Category,
    Time,
    Severity,
    Host,
}

impl Condition {
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Category => "category",
            Self::Time => "timestamp",
            Self::Severity => "severity_number",
            Self::Host => "host",
        }
    }
}

/// What bounds say about the records between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No record is wanted.
    None,
    /// Some may be.
    Some,
    /// All are.
    All,
}

/// What has to be read of a row group.
pub(super) struct RowGroup {
    pub index: usize,
    /// `None`: all rows.
    pub rows: Option<RowSelection>,
    /// Conditions that the bounds leave open.
    pub open: Vec<Condition>,
}

/// Whether the file may hold a wanted record.
pub(super) fn file_may_match(grep: &Grep, file: &SnapshotFile) -> bool {
    file.stats.as_ref().is_none_or(|stats| may_match(grep, stats))
}

/// Whether a wanted record may be among those that these statistics are of.
pub(super) fn may_match(grep: &Grep, stats: &FileStats) -> bool {
    let text = |globs: &Option<Globs>, bounds: &Option<(String, String)>| match (globs, bounds) {
        (Some(globs), Some((least, greatest))) => text_verdict(globs, least, greatest) != Verdict::None,
        _ => true,
    };
    let time =
        stats.timestamp.is_none_or(|(least, greatest)| time_verdict(&grep.time, least, greatest) != Verdict::None);
    time && text(&grep.categories, &stats.category) && text(&grep.hosts, &stats.host)
}

/// The row groups of a file that may hold a wanted record.
pub(super) fn row_groups(grep: &Grep, file: &ArrowReaderMetadata) -> Result<Vec<RowGroup>> {
    let conditions: Vec<_> = [Condition::Category, Condition::Time, Condition::Severity, Condition::Host]
        .into_iter()
        .filter(|condition| is_asked(grep, *condition))
        .collect();
    let verdicts: Vec<_> =
        conditions.iter().map(|condition| of_row_groups(grep, *condition, file)).collect::<Result<_>>()?;
    let mut groups = Vec::new();
    for index in 0..file.metadata().num_row_groups() {
        if verdicts.iter().any(|verdicts| verdicts[index] == Verdict::None) {
            continue;
        }
        let open = conditions.iter().zip(&verdicts).filter(|(_, verdicts)| verdicts[index] == Verdict::Some);
        let mut group = RowGroup { index, rows: None, open: open.map(|(condition, _)| *condition).collect() };
        for condition in group.open.clone() {
            by_pages(grep, condition, file, &mut group)?;
        }
        if group.rows.as_ref().is_none_or(RowSelection::selects_any) {
            groups.push(group);
        }
    }
    Ok(groups)
}

pub(super) fn is_asked(grep: &Grep, condition: Condition) -> bool {
    match condition {
        Condition::Category => grep.categories.is_some(),
        Condition::Time => grep.time != TimeRange::default(),
        Condition::Severity => grep.severities.is_some(),
        Condition::Host => grep.hosts.is_some(),
    }
}

fn of_row_groups(grep: &Grep, condition: Condition, file: &ArrowReaderMetadata) -> Result<Vec<Verdict>> {
    let groups = file.metadata().row_groups();
    let Some(statistics) = statistics(condition, file)? else { return Ok(vec![Verdict::Some; groups.len()]) };
    let (least, greatest) = (statistics.row_group_mins(groups)?, statistics.row_group_maxes(groups)?);
    verdicts(grep, condition, &least, &greatest)
}

/// Takes pages out of the group that the condition says hold nothing.
fn by_pages(grep: &Grep, condition: Condition, file: &ArrowReaderMetadata, group: &mut RowGroup) -> Result<()> {
    let metadata = file.metadata();
    let (Some(column_index), Some(offset_index)) = (metadata.column_index(), metadata.offset_index()) else {
        return Ok(());
    };
    let Some(statistics) = statistics(condition, file)? else { return Ok(()) };
    let Some(column) = statistics.parquet_column_index() else { return Ok(()) };
    let only = [group.index];
    let least = statistics.data_page_mins(column_index, offset_index, &only)?;
    let greatest = statistics.data_page_maxes(column_index, offset_index, &only)?;
    let verdicts = verdicts(grep, condition, &least, &greatest)?;
    let pages = offset_index[group.index][column].page_locations();
    if pages.len() != verdicts.len() {
        return Ok(());
    }
    let rows = metadata.row_group(group.index).num_rows() as usize;
    let page = |at: usize| -> Range<usize> {
        let end = pages.get(at + 1).map_or(rows, |next| next.first_row_index as usize);
        pages[at].first_row_index as usize..end
    };
    let kept = (0..pages.len()).filter(|at| verdicts[*at] != Verdict::None).map(page);
    let kept = RowSelection::from_consecutive_ranges(kept, rows);
    group.rows = Some(match group.rows.take() {
        Some(rows) => rows.intersection(&kept),
        None => kept,
    });
    if verdicts.iter().all(|verdict| *verdict != Verdict::Some) {
        group.open.retain(|open| *open != condition);
    }
    Ok(())
}

/// `None` where the column has bounds that we do not use, or is not there.
fn statistics<'a>(condition: Condition, file: &'a ArrowReaderMetadata) -> Result<Option<StatisticsConverter<'a>>> {
    if condition == Condition::Severity || file.schema().index_of(condition.column()).is_err() {
        return Ok(None);
    }
    Ok(Some(StatisticsConverter::try_new(condition.column(), file.schema(), file.parquet_schema())?))
}

fn verdicts(grep: &Grep, condition: Condition, least: &ArrayRef, greatest: &ArrayRef) -> Result<Vec<Verdict>> {
    let known = |row: usize| least.is_valid(row) && greatest.is_valid(row);
    let of = |verdict: &dyn Fn(usize) -> Verdict| {
        (0..least.len()).map(|row| if known(row) { verdict(row) } else { Verdict::Some }).collect()
    };
    match (condition, &grep.categories, &grep.hosts) {
        (Condition::Category, Some(globs), _) | (Condition::Host, _, Some(globs)) => {
            let (least, greatest) = (cast(least, &DataType::Utf8)?, cast(greatest, &DataType::Utf8)?);
            let (least, greatest) = (least.as_string::<i32>(), greatest.as_string::<i32>());
            Ok(of(&|row| text_verdict(globs, least.value(row), greatest.value(row))))
        }
        (Condition::Time, ..) => {
            let instant = file_schema().field_with_name("timestamp")?.data_type().clone();
            let (least, greatest) = (cast(least, &instant)?, cast(greatest, &instant)?);
            let (least, greatest) =
                (least.as_primitive::<TimestampMicrosecondType>(), greatest.as_primitive::<TimestampMicrosecondType>());
            Ok(of(&|row| time_verdict(&grep.time, least.value(row), greatest.value(row))))
        }
        _ => Ok(vec![Verdict::Some; least.len()]),
    }
}

fn time_verdict(range: &TimeRange, least: i64, greatest: i64) -> Verdict {
    let since = range.since.map_or(i64::MIN, |since| since.as_microsecond());
    let until = range.until.map_or(i64::MAX, |until| until.as_microsecond());
    match () {
        () if greatest < since || (least >= until && range.until.is_some()) => Verdict::None,
        () if least >= since && (greatest < until || range.until.is_none()) => Verdict::All,
        () => Verdict::Some,
    }
}

fn text_verdict(globs: &Globs, least: &str, greatest: &str) -> Verdict {
    if least == greatest {
        return if globs.matches(least) { Verdict::All } else { Verdict::None };
    }
    let may = globs.texts().iter().any(|glob| {
        // Every text that matches begins with what stands before the first wildcard.
        let prefix = &glob[..glob.find(['*', '?', '[', ']', '{', '}', '\\', '/', ',']).unwrap_or(glob.len())];
        if prefix.len() == glob.len() {
            return least <= prefix && prefix <= greatest;
        }
        prefix <= greatest && (least <= prefix || least.starts_with(prefix))
    });
    if may { Verdict::Some } else { Verdict::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_no_matching_text_lies_between_are_skipped() {
        let verdict = |glob: &str, least, greatest| text_verdict(&Globs::new([glob]).unwrap(), least, greatest);
        assert_eq!(verdict("nginx.*", "nginx.access", "nginx.access"), Verdict::All);
        assert_eq!(verdict("nginx.*", "app", "app"), Verdict::None);
        for (glob, least, greatest, expected) in [
            ("nginx.*", "app", "kernel", Verdict::None),
            ("nginx.*", "nginx.access", "nginx.error", Verdict::Some),
            ("nginx.*", "app", "nginx.access", Verdict::Some),
            ("nginx.*", "nginx", "zsh", Verdict::Some),
            ("nginx.*", "nginy", "zsh", Verdict::None),
            ("nginx", "app", "kernel", Verdict::None),
            ("nginx", "app", "nginx", Verdict::Some),
            ("nginx", "nginx.access", "zsh", Verdict::None),
            ("{app,db}", "x", "z", Verdict::Some),
            ("*", "x", "z", Verdict::Some),
        ] {
            assert_eq!(verdict(glob, least, greatest), expected, "{glob} {least} {greatest}");
        }
    }

    #[test]
    fn the_end_of_a_time_range_does_not_belong_to_it() {
        let at = |us| Some(jiff::Timestamp::from_microsecond(us).unwrap());
        let range = TimeRange { since: at(10), until: at(20) };
        for (least, greatest, expected) in [
            (0, 9, Verdict::None),
            (0, 10, Verdict::Some),
            (10, 19, Verdict::All),
            (10, 20, Verdict::Some),
            (20, 30, Verdict::None),
        ] {
            assert_eq!(time_verdict(&range, least, greatest), expected, "{least} {greatest}");
        }
        assert_eq!(time_verdict(&TimeRange::default(), i64::MIN, i64::MAX), Verdict::All);
    }
}
