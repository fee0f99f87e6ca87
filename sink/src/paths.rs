//! Every object name of a table: built here, parsed here, and nowhere else.
//!
//! Names are relative to the table's root. Nothing that a producer sends is ever part of one.

use std::fmt;

use jiff::civil::Date;
use logboom_config::random;
use logboom_wire::StreamId;
use object_store::path::Path;
use uuid::Uuid;

/// The folder of the log.
pub const LOG_FOLDER: &str = "_delta_log";
/// The folder of blocks that could not be merged.
pub const REJECTED_FOLDER: &str = "_rejected";
/// The folder of what maintainers tell one another.
pub const MAINTENANCE_FOLDER: &str = "_maintenance";
/// The folder of what a probe of the store puts and deletes again.
pub const PROBE_FOLDER: &str = "_probe";
/// The folder of gzipped JSON. Readers and clean-up of other engines take a name with an underscore for none of theirs:
/// a foreign `VACUUM` deletes what no `add` names, and no `add` names these.
pub const JSON_FOLDER: &str = "_json";
const DATE_KEY: &str = "date=";
/// The bits of an identity that number the files of an index. The others are random.
const FILE_NUMBER: u128 = u32::MAX as u128;

/// The name of one object of the table.
///
/// | object | name |
/// |---|---|
/// | commit | `_delta_log/<version>.json` |
/// | checkpoint | `_delta_log/<version>.checkpoint.parquet` |
/// | part of a checkpoint (only other writers make them) | `_delta_log/<version>.checkpoint.<part>.<parts>.parquet` |
/// | checksum (only other writers make them) | `_delta_log/<version>.crc` |
/// | hint at the newest checkpoint | `_delta_log/_last_checkpoint` |
/// | sink file | `date=YYYY-MM-DD/<uuid>.parquet` |
/// | lease of a maintainer | `_maintenance/lease-<number>.json` |
/// | sink file in Parquet, or the index of some in JSON | `date=YYYY-MM-DD/<uuid>.parquet` |
/// | sink file in JSON | `_json/date=YYYY-MM-DD/<uuid>.json.gz` |
/// | block that could not be merged | `_rejected/<stream>-<block number>.block` |
/// | object of a probe; one that is left is garbage | `_probe/<uuid>.<number>` |
///
/// Versions and leases have 20 digits, parts 10, so that names sort as numbers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A commit, by its version.
    Commit(u64),
    /// A checkpoint in one object, by its version.
    Checkpoint(u64),
    /// One of the objects of a checkpoint, numbered from 1.
    CheckpointPart {
        /// Version of the checkpoint.
        version: u64,
        /// This part.
        part: u32,
        /// How many there are.
        parts: u32,
    },
    /// A checksum, by its version.
    Checksum(u64),
    /// The hint at the newest checkpoint.
    LastCheckpoint,
    /// A sink file in Parquet, or the index of some in JSON: what an `add` names.
    Data {
        /// Its partition.
        date: Date,
        /// Its random identity.
        id: Uuid,
    },
    /// The lease of who maintains the table, numbered from 1.
    Lease(u64),
    /// A sink file in JSON: what rows of an index name.
    Json {
        /// Its partition.
        date: Date,
        /// Its random identity.
        id: Uuid,
    },
    /// A block that could not be merged, kept as it came.
    Rejected {
        /// Its stream.
        stream: StreamId,
        /// Its number in the stream.
        block: u64,
    },
    /// An object of a probe, of no use to anyone once that has ended.
    Probe {
        /// The probe.
        id: Uuid,
        /// Its number in the probe.
        number: u64,
    },
}

/// An identity that was never used before.
pub(crate) fn new_id() -> Uuid {
    uuid::Builder::from_random_bytes(random::identity()).into_uuid()
}

impl Name {
    /// A sink file's name that was never used before.
    pub fn new_data(date: Date) -> Self {
        Self::Data { date, id: new_id() }
    }

    /// An index's name that was never used before. The files that it lists have names like it, so that neither is needed to
    /// know the other.
    pub fn new_index(date: Date) -> Self {
        Self::Data { date, id: Uuid::from_u128(new_id().as_u128() & !FILE_NUMBER) }
    }

    /// Of an index, the sink file in JSON with this number.
    ///
    /// # Panics
    /// If this is no index.
    pub fn listed(self, number: u32) -> Self {
        let Self::Data { date, id } = self else { panic!("{self} is no index") };
        Self::Json { date, id: Uuid::from_u128((id.as_u128() & !FILE_NUMBER) | u128::from(number)) }
    }

    /// Of a sink file in JSON, the index that lists it; of any other object none.
    pub fn index(self) -> Option<Self> {
        match self {
            Self::Json { date, id } => Some(Self::Data { date, id: Uuid::from_u128(id.as_u128() & !FILE_NUMBER) }),
            _ => None,
        }
    }

    /// The object's path below the root of the table.
    pub fn path(self) -> Path {
        Path::from(self.to_string())
    }

    /// Reads a path below the root of the table. `None`: not one of ours, leave it alone.
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, file) = path.rsplit_once('/')?;
        match folder {
            LOG_FOLDER => Self::parse_log(file),
            MAINTENANCE_FOLDER => Some(Self::Lease(digits(file.strip_prefix("lease-")?.strip_suffix(".json")?, 20)?)),
            REJECTED_FOLDER => {
                let (stream, block) = file.strip_suffix(".block")?.split_once('-')?;
                Some(Self::Rejected { stream: stream.parse().ok()?, block: number(block)? })
            }
            PROBE_FOLDER => {
                let (id, object) = file.split_once('.')?;
                let name = Self::Probe { id: id.parse().ok()?, number: number(object)? };
                (name.to_string() == path).then_some(name)
            }
            _ => {
                let name = match file.strip_suffix(".json.gz") {
                    Some(id) => {
                        let date = folder.strip_prefix(JSON_FOLDER)?.strip_prefix('/')?.strip_prefix(DATE_KEY)?;
                        Self::Json { date: parse_date(date)?, id: id.parse().ok()? }
                    }
                    None => {
                        let (date, id) = (folder.strip_prefix(DATE_KEY)?, file.strip_suffix(".parquet")?);
                        Self::Data { date: parse_date(date)?, id: id.parse().ok()? }
                    }
                };
                // Only the one spelling that `path` gives: a name has one text.
                (name.to_string() == path).then_some(name)
            }
        }
    }

    fn parse_log(file: &str) -> Option<Self> {
        if file == "_last_checkpoint" {
            return Some(Self::LastCheckpoint);
        }
        let (version, rest) = file.split_once('.')?;
        let version = digits(version, 20)?;
        match rest {
            "json" => Some(Self::Commit(version)),
            "crc" => Some(Self::Checksum(version)),
            "checkpoint.parquet" => Some(Self::Checkpoint(version)),
            _ => {
                let numbers = rest.strip_prefix("checkpoint.")?.strip_suffix(".parquet")?;
                let (part, parts) = numbers.split_once('.')?;
                let part = u32::try_from(digits(part, 10)?).ok()?;
                let parts = u32::try_from(digits(parts, 10)?).ok()?;
                (1 <= part && part <= parts).then_some(Self::CheckpointPart { version, part, parts })
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(version) => write!(f, "{LOG_FOLDER}/{version:020}.json"),
            Self::Checkpoint(version) => write!(f, "{LOG_FOLDER}/{version:020}.checkpoint.parquet"),
            Self::CheckpointPart { version, part, parts } => {
                write!(f, "{LOG_FOLDER}/{version:020}.checkpoint.{part:010}.{parts:010}.parquet")
            }
            Self::Checksum(version) => write!(f, "{LOG_FOLDER}/{version:020}.crc"),
            Self::LastCheckpoint => write!(f, "{LOG_FOLDER}/_last_checkpoint"),
            Self::Data { date, id } => write!(f, "{DATE_KEY}{date}/{id}.parquet"),
            Self::Lease(number) => write!(f, "{MAINTENANCE_FOLDER}/lease-{number:020}.json"),
            Self::Json { date, id } => write!(f, "{JSON_FOLDER}/{DATE_KEY}{date}/{id}.json.gz"),
            Self::Rejected { stream, block } => write!(f, "{REJECTED_FOLDER}/{stream}-{block}.block"),
            Self::Probe { id, number } => write!(f, "{PROBE_FOLDER}/{id}.{number}"),
        }
    }
}

/// Where a listing has to start to show everything of `version` and later, but nothing earlier.
pub(crate) fn log_from(version: u64) -> Path {
    Path::from(format!("{LOG_FOLDER}/{version:020}"))
}

/// A date as partitions spell it, `YYYY-MM-DD`, and in no other way.
pub fn parse_date(text: &str) -> Option<Date> {
    let date: Date = text.parse().ok()?;
    (date.to_string() == text).then_some(date)
}

/// A path as the log writes it: percent-encoded (RFC 2396), as the Delta protocol asks.
pub(crate) fn to_uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/=".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// The path that the log's text stands for. `None` if the text is no encoded path.
pub(crate) fn from_uri(uri: &str) -> Option<String> {
    let mut bytes = uri.bytes();
    let mut path = Vec::with_capacity(uri.len());
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(path).ok()
}

fn digits(text: &str, length: usize) -> Option<u64> {
    (text.len() == length && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use logboom_fuzz::fuzz;

    use super::*;

    #[test]
    fn every_name_is_parsed_back_to_itself() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let stream = StreamId::from_bytes([0xab; 16]);
        for (name, text) in [
            (Name::Commit(0), "_delta_log/00000000000000000000.json"),
            (Name::Commit(u64::MAX), "_delta_log/18446744073709551615.json"),
            (Name::Checkpoint(100), "_delta_log/00000000000000000100.checkpoint.parquet"),
            (
                Name::CheckpointPart { version: 7, part: 2, parts: 3 },
                "_delta_log/00000000000000000007.checkpoint.0000000002.0000000003.parquet",
            ),
            (Name::Checksum(7), "_delta_log/00000000000000000007.crc"),
            (Name::LastCheckpoint, "_delta_log/_last_checkpoint"),
            (Name::Data { date: date(2026, 2, 3), id }, "date=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.parquet"),
            (Name::Lease(7), "_maintenance/lease-00000000000000000007.json"),
            (
                Name::Json { date: date(2026, 2, 3), id },
                "_json/date=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.json.gz",
            ),
            (Name::Rejected { stream, block: 12 }, "_rejected/abababababababababababababababab-12.block"),
            (Name::Probe { id, number: 9 }, "_probe/01234567-89ab-cdef-0123-456789abcdef.9"),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(name.path().as_ref(), text);
            assert_eq!(Name::parse(text), Some(name));
        }
    }

    #[test]
    fn an_index_is_known_by_the_names_of_its_files() {
        let (one, two) = (Name::new_index(date(2026, 2, 3)), Name::new_index(date(2026, 2, 3)));
        assert_ne!(one, two);
        let files = [1, 2, u32::MAX].map(|number| one.listed(number));
        assert!(files.iter().all(|file| file.index() == Some(one)), "{files:?}");
        assert!(files[0] != files[1] && files[1] != files[2]);
        assert_eq!(one.index(), None);
    }

    #[test]
    fn a_name_that_is_not_ours_is_left_alone() {
        for text in [
            "",
            "x",
            "_delta_log/",
            "_delta_log/0.json",
            "_delta_log/000000000000000000001.json",
            "_delta_log/+0000000000000000001.json",
            "_delta_log/99999999999999999999.json",
            "_delta_log/00000000000000000007.json.tmp",
            "_delta_log/00000000000000000007.checkpoint.0000000004.0000000003.parquet",
            "_delta_log/00000000000000000007.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json",
            "_delta_log/_staged_commits/00000000000000000007.json",
            "_maintenance/lease-7.json",
            "date=2026-02-30/01234567-89ab-cdef-0123-456789abcdef.parquet",
            "date=2026-02-03/0123456789abcdef0123456789abcdef.parquet",
            "date=2026-02-03/x.parquet",
            "x/date=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.parquet",
            "date=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.json.gz",
            "_json/01234567-89ab-cdef-0123-456789abcdef.json.gz",
            "_json/date=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.parquet",
            "_json/date=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.json",
            "_jsondate=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.json.gz",
            "_rejected/abababababababababababababababab-012.block",
            "_probe/01234567-89ab-cdef-0123-456789abcdef",
            "_probe/0123456789abcdef0123456789abcdef.9",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_survives_the_logs_encoding() {
        for (path, uri) in [
            ("date=2026-02-03/a-b.parquet", "date=2026-02-03/a-b.parquet"),
            ("a b%/ü.parquet", "a%20b%25/%C3%BC.parquet"),
        ] {
            assert_eq!(to_uri(path), uri);
            assert_eq!(from_uri(uri).as_deref(), Some(path));
        }
        assert_eq!(from_uri("a%2"), None);
        assert_eq!(from_uri("a%zz"), None);
        assert_eq!(from_uri("a%ff"), None);
    }

    #[test]
    fn no_path_makes_it_panic_and_a_name_has_one_text() {
        let seeds: [&[u8]; 6] = [
            b"_delta_log/00000000000000000100.checkpoint.0000000001.0000000002.parquet",
            b"_delta_log/18446744073709551615.json",
            b"_json/date=2026-02-03/01234567-89ab-cdef-0123-456789abcdef.json.gz",
            b"_rejected/abababababababababababababababab-7.block",
            b"_maintenance/lease-00000000000000000007.json",
            b"a%20b%25/%C3%BC.parquet",
        ];
        fuzz(&seeds, |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Some(name) = Name::parse(text) {
                assert_eq!(name.to_string(), text);
            }
            if let Some(path) = from_uri(text) {
                assert_eq!(from_uri(&to_uri(&path)), Some(path));
            }
        });
    }
}
