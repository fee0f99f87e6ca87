//! File operations that are on disk when they return. Every create, rename and delete is followed by a sync of its
//! directory; without that, a power cut may bring back a deleted name or forget a new one.

use std::io;
use std::path::Path;

use logboom_config::{crash, planted};

use super::disk::{Create, Disk, File};

/// Creates `path`, which must not exist, for reading and writing; its content is not synced yet, its name is.
pub fn create(disk: &Disk, path: &Path) -> io::Result<File> {
    let file = disk.create(path, Create::New)?;
    crash::point("spool.create.before_dir_sync");
    sync_parent(disk, path)?;
    Ok(file)
}

/// Creates the directory `path` and those above it.
pub fn create_dir(disk: &Disk, path: &Path) -> io::Result<()> {
    if disk.is_dir(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(disk, parent)?;
    }
    match disk.create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ if planted::bug("trust_new_folder") => sync_parent(disk, path),
        // One that is there is taken for durable: if it is not, it must not stay.
        _ => sync_parent(disk, path).inspect_err(|_| drop(disk.remove_dir(path))),
    }
}

/// Syncs the content of `file`.
pub fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::before_sync()?;
    if planted::bug("skip_sync") {
        return Ok(());
    }
    if planted::bug("retry_failed_sync") {
        return file.sync_data().or_else(|_| file.sync_data());
    }
    match file.sync_data() {
        Err(_) if planted::bug("ignore_failed_sync") => Ok(()),
        synced => synced,
    }
}

/// Puts `content` at `path` in one step: readers find the old content or the new, also after a crash.
pub fn replace(disk: &Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.to_owned();
    temporary.set_extension("new");
    let file = disk.create(&temporary, Create::Empty)?;
    file.write_all_at(content, 0)?;
    crash::point("spool.replace.before_sync");
    if !planted::bug("replace_without_sync") {
        file.sync_all()?;
    }
    crash::point("spool.rename.before");
    disk.rename(&temporary, path)?;
    crash::point("spool.rename.after");
    sync_parent(disk, path)
}

/// Deletes the file `path`; one that is gone already is fine.
pub fn delete(disk: &Disk, path: &Path) -> io::Result<()> {
    remove(disk, path)?;
    sync_parent(disk, path)
}

/// As [`delete`], but a power cut may bring it back until its folder is synced, or is gone for good.
pub fn remove(disk: &Disk, path: &Path) -> io::Result<()> {
    crash::point("spool.delete.before");
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    crash::point("spool.delete.after");
    Ok(())
}

/// Deletes the directory `path` if it is empty; one that is gone already is fine.
pub fn delete_dir(disk: &Disk, path: &Path) -> io::Result<()> {
    remove_dir(disk, path)?;
    sync_parent(disk, path)
}

/// As [`delete_dir`], but a power cut may bring it back until the folder it is in is synced.
pub fn remove_dir(disk: &Disk, path: &Path) -> io::Result<()> {
    match disk.remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the name of `path` durable.
pub fn sync_parent(disk: &Disk, path: &Path) -> io::Result<()> {
    if planted::bug("skip_directory_sync") {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk.sync_dir(parent.unwrap_or(Path::new(".")))
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
