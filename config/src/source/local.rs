//! Sources that take from this machine itself: its journal, a command, and the adaptor's own pulse.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::file::ReadFrom;
use crate::error::Error;
use crate::section::Section;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// How often a command may be started.
const EXEC_INTERVAL: RangeInclusive<Duration> = SECOND..=Duration::from_hours(24 * 30);

/// Settings of a source of type `journald`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournaldSource {
    /// The units to read; empty for all.
    pub units: Vec<String>,
    /// A folder of journal files; none is the journal of this machine.
    pub journal_path: Option<PathBuf>,
    /// The program to run.
    pub journalctl: PathBuf,
    /// Where to start when there is no position yet.
    pub read_from: ReadFrom,
}

/// Settings of a source of type `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSource {
    /// The program and its arguments; at least the program.
    pub command: Vec<String>,
    /// How often it is started, 1 s to 30 days; none keeps it running.
    pub interval: Option<Duration>,
    /// When a command that is started on an interval is killed; 1 s to 1 day.
    pub timeout: Duration,
    /// The folder that it runs in; none is the adaptor's.
    pub working_folder: Option<PathBuf>,
    /// Variables besides the adaptor's own.
    pub environment: BTreeMap<String, String>,
}

/// Settings of a source of type `heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatSource {
    /// The time between two records; 1 s to 1 day.
    pub interval: Duration,
}

impl JournaldSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let journal_path = section.given("journal_path").map(|value| value.name(4096)).transpose()?;
        Ok(Self {
            units: section.get("units").list()?.iter().map(|unit| unit.name(256)).collect::<Result<_, _>>()?,
            journal_path: journal_path.map(PathBuf::from),
            journalctl: section.get("journalctl").name(4096)?.into(),
            read_from: ReadFrom::read(section)?,
        })
    }
}

impl ExecSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let value = section.required("command")?;
        let command: Vec<String> = value.list()?.iter().map(|word| word.text()).collect::<Result<_, _>>()?;
        if command.first().is_none_or(String::is_empty) {
            return Err(value.wrong("must begin with the program to run, such as [\"vmstat\", \"-n\", \"5\"]"));
        }
        if let Some(word) = command.iter().find(|word| word.contains('\0')) {
            return Err(value.wrong(format!("has the NUL character in {word:?}, which no argument can hold")));
        }
        let working_folder = section.given("working_folder").map(|value| value.name(4096)).transpose()?;
        Ok(Self {
            command,
            interval: section.given("interval").map(|value| value.duration(EXEC_INTERVAL)).transpose()?,
            timeout: section.get("timeout").duration(SECOND..=DAY)?,
            working_folder: working_folder.map(PathBuf::from),
            environment: section.get("environment").texts()?,
        })
    }
}

impl HeartbeatSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Error> {
        let given = section.given("interval").map(|value| value.duration(SECOND..=DAY)).transpose()?;
        Ok(Self { interval: given.unwrap_or(30 * SECOND) })
    }
}
