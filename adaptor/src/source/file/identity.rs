//! Which file a position belongs to: the key and value of a position, and the judgement whether a file on disk is
//! still the one that a position speaks of. Does not search for files and does not read lines.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::source::line::Lanes;

/// Most bytes of a file's beginning that its fingerprint covers.
pub const HEAD_BYTES_MAX: usize = 256;

/// Names a file for as long as it exists, under whatever path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The device; its number may change when the host restarts.
    pub dev: u64,
    /// The inode; taken again by another file once this one is deleted.
    pub ino: u64,
}

impl FileId {
    pub fn of(meta: &Metadata) -> Self {
        Self { dev: meta.dev(), ino: meta.ino() }
    }

    /// Key of the position of this file in the source named `source`.
    pub fn key(self, source: &str) -> String {
        format!("file/{source}/{}/{}", self.dev, self.ino)
    }

    /// Reads a key back; `None` when it is another source's.
    pub fn of_key(source: &str, key: &str) -> Option<Self> {
        let rest = key.strip_prefix("file/")?.strip_prefix(source)?.strip_prefix('/')?;
        let (dev, ino) = rest.split_once('/')?;
        Some(Self { dev: dev.parse().ok()?, ino: ino.parse().ok()? })
    }
}

/// When the file was created, in ns since 1970, where the file system says so. Renaming and truncating keep it; the next
/// file that gets the inode has another one, even if it begins with the same bytes.
pub fn born(meta: &Metadata) -> Option<u64> {
    let since = meta.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok().filter(|&born| born != 0)
}

/// Whether two times of birth, as far as they are known, speak against one file.
pub fn born_apart(one: Option<u64>, other: Option<u64>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

/// What the first bytes of a file were, as far as they lie before its position and below [`HEAD_BYTES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    len: u64,
    crc32c: u32,
}

impl Fingerprint {
    /// Of a file that begins with `head`, at `offset`.
    pub fn of(head: &[u8], offset: u64) -> Self {
        let covered = &head[..head.len().min(head_len(offset))];
        Self { len: covered.len() as u64, crc32c: crc32c::crc32c(covered) }
    }
}

fn head_len(offset: u64) -> usize {
    offset.min(HEAD_BYTES_MAX as u64) as usize
}

/// Where a file stands: the value of its position, as compact JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Path under which it was discovered. Its records bear it, so it stays when the file is renamed.
    pub path: String,
    /// Where it lies, if that is elsewhere: it was renamed, or `path` leads over a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Bytes that are done with: every record that ends before is in the spool. None that ends after is, but for what
    /// `lanes` says.
    pub offset: u64,
    /// How far each of the container's streams is done with, if they differ; `offset` is the least of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Lanes>,
    /// To tell it from another file that got its inode.
    pub fingerprint: Fingerprint,
    /// See [`born`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<u64>,
    /// Whether it was renamed since it was discovered, so that its writer will be gone sooner or later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rotated: bool,
    /// Whether `offset` lies in a line that is to be skipped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inside_line: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What became of the file that a [`Standing`] speaks of.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this one, and begins with these bytes as it did: go on at the offset.
    Continues(Vec<u8>),
    /// It is this one, but was emptied since: begin again.
    Truncated,
    /// This is another one.
    Other,
}

impl Standing {
    /// Path where the file lay when this was written.
    pub fn place(&self) -> &str {
        self.at.as_deref().unwrap_or(&self.path)
    }

    /// The most bytes of which anything is in the spool.
    pub fn reach(&self) -> u64 {
        self.lanes.iter().flat_map(|lanes| lanes.done).fold(self.offset, u64::max)
    }

    /// Judges `file`, which has the same inode.
    pub fn judge(&self, file: &File, meta: &Metadata) -> io::Result<Verdict> {
        let (born, reach) = (born(meta), self.reach());
        if born_apart(self.born, born) {
            return Ok(Verdict::Other);
        }
        if meta.size() < reach {
            return Ok(Verdict::Truncated);
        }
        let same_birth = self.born.is_some() && self.born == born;
        if reach == 0 && !same_birth {
            // Nothing speaks for it, and either way it is read from its beginning.
            return Ok(Verdict::Other);
        }
        let head = read_head(file, head_len(reach))?;
        if head.len() == head_len(reach) && Fingerprint::of(&head, reach) == self.fingerprint {
            return Ok(Verdict::Continues(head));
        }
        match same_birth {
            true => Ok(Verdict::Truncated),
            false => Ok(Verdict::Other),
        }
    }
}

/// The first `len` bytes of `file`, or as many as there are.
pub fn read_head(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut head[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn standing(offset: u64, head: &[u8]) -> Standing {
        Standing {
            path: "/var/log/app.log".into(),
            at: None,
            offset,
            lanes: None,
            fingerprint: Fingerprint::of(head, offset),
            born: None,
            rotated: false,
            inside_line: false,
        }
    }

    fn judge(standing: &Standing, content: &str) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        fs::write(&path, content).unwrap();
        let file = File::open(path).unwrap();
        standing.judge(&file, &file.metadata().unwrap()).unwrap()
    }

    #[test]
    fn a_key_names_source_device_and_inode_and_reads_back() {
        let id = FileId { dev: 66, ino: 7_001 };
        assert_eq!(id.key("app/logs"), "file/app/logs/66/7001");
        assert_eq!(FileId::of_key("app/logs", "file/app/logs/66/7001"), Some(id));
        for foreign in ["file/app/66/7001", "file/app/logs/66", "socket/app/logs/66/7001", "file/app/logs/66/x", ""] {
            assert_eq!(FileId::of_key("app/logs", foreign), None, "{foreign}");
        }
        assert_eq!(FileId::of_key("app", "file/app/logs/66/7001"), None);
    }

    #[test]
    fn a_value_is_compact_and_says_only_what_is_out_of_the_ordinary() {
        let text = serde_json::to_string(&standing(3, b"abc")).unwrap();
        let crc = crc32c::crc32c(b"abc");
        assert_eq!(
            text,
            format!(r#"{{"path":"/var/log/app.log","offset":3,"fingerprint":{{"len":3,"crc32c":{crc}}}}}"#)
        );
        assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), standing(3, b"abc"));
    }

    #[test]
    fn a_file_that_begins_the_same_continues_however_much_was_appended() {
        let head = b"one\ntwo\n".to_vec();
        assert_eq!(judge(&standing(8, &head), "one\ntwo\n"), Verdict::Continues(head.clone()));
        assert_eq!(judge(&standing(8, &head), "one\ntwo\nthree\n"), Verdict::Continues(head));
        assert_eq!(judge(&standing(0, b""), "anything"), Verdict::Other);
        let long = "x".repeat(1000);
        assert_eq!(judge(&standing(900, &long.as_bytes()[..256]), &long), Verdict::Continues(vec![b'x'; 256]));
    }

    #[test]
    fn a_stream_that_is_ahead_of_the_offset_counts() {
        let lanes = Some(Lanes { done: [0, 8, 4], ..Lanes::default() });
        let ahead = Standing { lanes, fingerprint: Fingerprint::of(b"one\ntwo\n", 8), ..standing(0, b"") };
        assert_eq!(judge(&ahead, "one\ntwo\nthree\n"), Verdict::Continues(b"one\ntwo\n".to_vec()));
        assert_eq!(judge(&ahead, "one\n"), Verdict::Truncated);
        assert_eq!(judge(&ahead, "uno\ndue\ntre\n"), Verdict::Other);
        let text = serde_json::to_string(&ahead).unwrap();
        assert!(text.contains(r#""lanes":{"done":[0,8,4]}"#), "{text}");
        assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), ahead);
    }

    #[test]
    fn a_file_with_other_first_bytes_is_another_one_and_a_shorter_one_was_truncated() {
        assert_eq!(judge(&standing(8, b"one\ntwo\n"), "uno\ndue\ntre\n"), Verdict::Other);
        assert_eq!(judge(&standing(8, b"one\ntwo\n"), "one\n"), Verdict::Truncated);
        let other_birth = Standing { born: Some(1), ..standing(4, b"one\n") };
        assert_eq!(judge(&other_birth, "one\ntwo\n"), Verdict::Other);
    }

    #[test]
    fn a_hostile_value_is_judged_and_does_not_panic() {
        let hostile = r#"{"path":"","offset":18446744073709551615,"fingerprint":{"len":9999,"crc32c":0}}"#;
        assert_eq!(judge(&serde_json::from_str(hostile).unwrap(), "one\n"), Verdict::Truncated);
        let hostile = r#"{"path":"x","offset":2,"fingerprint":{"len":18446744073709551615,"crc32c":0}}"#;
        assert_eq!(judge(&serde_json::from_str(hostile).unwrap(), "one\n"), Verdict::Other);
    }
}
