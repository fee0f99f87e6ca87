//! The folder `quarantine/` of a spool: damaged bytes, kept for a human to look at. Nothing here is ever read again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use logboom_wire::StreamId;

use super::durable;

/// Copies the bytes from `from` to `end` of `file`, the segment at `path`, into the quarantine of the spool at `root`.
pub fn copy(root: &Path, stream: StreamId, path: &Path, file: &File, from: u64, end: u64) -> io::Result<PathBuf> {
    let folder = root.join("quarantine");
    durable::create_dir(&folder)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = folder.join(format!("{stream}-{stem}-{from}.bad"));
    let end = end.min(file.metadata()?.len());
    let mut bytes = vec![0; end.saturating_sub(from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    let mut copy = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&name)?;
    copy.write_all(&bytes)?;
    Ok(name)
}

/// Moves the file at `path` into the quarantine of the spool at `root`.
pub fn take(root: &Path, path: &Path) -> io::Result<()> {
    let folder = root.join("quarantine");
    durable::create_dir(&folder)?;
    let mut name = path.parent().and_then(Path::file_name).unwrap_or_default().to_owned();
    name.push("-");
    name.push(path.file_name().unwrap_or_default());
    fs::rename(path, folder.join(name))
}
