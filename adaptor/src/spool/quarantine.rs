//! The folder `quarantine/` of a spool: damaged bytes, kept for a human to look at. Nothing here is ever read again.

use std::io;
use std::path::{Path, PathBuf};

use logboom_wire::StreamId;

use super::disk::{Disk, File};
use super::durable;

/// Copies the bytes from `from` to `end` of `file`, the segment at `path`, into the quarantine of the spool at `root`.
pub fn copy(
    disk: &Disk,
    root: &Path,
    stream: StreamId,
    path: &Path,
    file: &File,
    from: u64,
    end: u64,
) -> io::Result<PathBuf> {
    let folder = root.join("quarantine");
    durable::create_dir(disk, &folder)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = folder.join(format!("{stream}-{stem}-{from}.bad"));
    let end = end.min(file.length()?);
    let mut bytes = vec![0; end.saturating_sub(from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    disk.write(&name, &bytes)?;
    Ok(name)
}

/// Moves the file at `path` into the quarantine of the spool at `root`.
pub fn take(disk: &Disk, root: &Path, path: &Path) -> io::Result<()> {
    let folder = root.join("quarantine");
    durable::create_dir(disk, &folder)?;
    let mut name = path.parent().and_then(Path::file_name).unwrap_or_default().to_owned();
    name.push("-");
    name.push(path.file_name().unwrap_or_default());
    disk.rename(path, &folder.join(name))
}
