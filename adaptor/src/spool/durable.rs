//! File operations that are on disk when they return. Every create, rename and delete is followed by a sync of its
//! directory; without that, a power cut may bring back a deleted name or forget a new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use logboom_config::crash;

/// Creates `path`, which must not exist, for reading and writing; its content is not synced yet, its name is.
pub fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    crash::point("spool.create.before_dir_sync");
    sync_parent(path)?;
    Ok(file)
}

/// Creates the directory `path` and those above it.
pub fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(path),
    }
}

/// Syncs the content of `file`.
pub fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::before_sync()?;
    file.sync_data()
}

/// Puts `content` at `path` in one step: readers find the old content or the new, also after a crash.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.to_owned();
    temporary.set_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    crash::point("spool.replace.before_sync");
    file.sync_all()?;
    crash::point("spool.rename.before");
    fs::rename(&temporary, path)?;
    crash::point("spool.rename.after");
    sync_parent(path)
}

/// Deletes the file `path`; one that is gone already is fine.
pub fn delete(path: &Path) -> io::Result<()> {
    crash::point("spool.delete.before");
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    crash::point("spool.delete.after");
    sync_parent(path)
}

/// Deletes the directory `path` if it is empty; one that is gone already is fine.
pub fn delete_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Syncs that fail or wait on demand, in this thread only.
#[cfg(test)]
pub mod faults {
    use std::cell::{Cell, RefCell};
    use std::io;

    thread_local! {
        static SYNCS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
        static BEFORE_SYNC: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    /// Lets `sound` more syncs of this thread succeed, and the one after them fail.
    pub fn fail_sync_after(sound: u32) {
        SYNCS_LEFT.set(Some(sound));
    }

    /// Runs `hook` before the next sync of this thread.
    pub fn run_before_sync(hook: impl FnOnce() + 'static) {
        BEFORE_SYNC.set(Some(Box::new(hook)));
    }

    pub(super) fn before_sync() -> io::Result<()> {
        if let Some(hook) = BEFORE_SYNC.take() {
            hook();
        }
        match SYNCS_LEFT.get() {
            Some(0) => {
                SYNCS_LEFT.set(None);
                Err(io::Error::other("a sync that was told to fail"))
            }
            left => {
                SYNCS_LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
