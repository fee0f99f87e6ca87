//! The disk under the spool. It is the one of this machine; in a simulation it is one in memory that forgets what was not
//! synced.
//!
//! Owns no order of operations: that is `durable`'s. Without the cargo feature `simulation` a [`Disk`] is nothing, and a
//! [`File`] is the system's.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
#[cfg(feature = "simulation")]
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinError;

/// What a disk in memory does. Errors are those of the system's calls of the same names.
#[cfg(feature = "simulation")]
#[expect(missing_docs, reason = "each is the method of `Disk` or `File` of that name")]
pub trait SimulatedDisk: Send + Sync + std::fmt::Debug {
    fn create(&self, path: &Path, how: Create) -> io::Result<u64>;
    fn open(&self, path: &Path) -> io::Result<u64>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    fn is_dir(&self, path: &Path) -> bool;
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    fn read_exact_at(&self, file: u64, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, file: u64, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, file: u64, length: u64) -> io::Result<()>;
    fn sync(&self, file: u64) -> io::Result<()>;
    fn length(&self, file: u64) -> io::Result<u64>;
    fn is_deleted(&self, file: u64) -> bool;
    /// The date by the clock of its machine.
    fn date(&self) -> Duration;
    /// How long the machine does something else before the next step.
    fn delay(&self) -> Duration;
}

/// How a file is opened to write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// It must not exist.
    New,
    /// Empty, whether it exists or not.
    Empty,
    /// It may exist, and keeps its content.
    Keep,
    /// It exists.
    Never,
}

/// See the module. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    #[cfg(feature = "simulation")]
    simulated: Option<Arc<dyn SimulatedDisk>>,
}

/// An open file.
#[derive(Debug)]
pub struct File(Inner);

#[derive(Debug)]
enum Inner {
    Real(fs::File),
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn SimulatedDisk>, u64),
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> Self {
        Self(Inner::Real(file))
    }
}

/// Hands over to the disk in memory where there is one.
macro_rules! simulated {
    ($disk:expr, $of:ident => $call:expr) => {
        #[cfg(feature = "simulation")]
        if let Some($of) = &$disk.simulated {
            return $call;
        }
    };
}

macro_rules! simulated_file {
    ($file:expr, $of:ident, $id:ident => $call:expr) => {
        #[cfg(feature = "simulation")]
        if let Inner::Simulated($of, $id) = &$file.0 {
            let $id = *$id;
            return $call;
        }
    };
}

impl Disk {
    /// A disk in memory.
    #[cfg(feature = "simulation")]
    pub fn simulated(disk: Arc<dyn SimulatedDisk>) -> Self {
        Self { simulated: Some(disk) }
    }

    /// Opens `path` for reading and writing.
    pub fn create(&self, path: &Path, how: Create) -> io::Result<File> {
        simulated!(self, disk => Ok(File(Inner::Simulated(disk.clone(), disk.create(path, how)?))));
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        match how {
            Create::New => options.create_new(true),
            Create::Empty => options.create(true).truncate(true),
            Create::Keep => options.create(true).truncate(false),
            Create::Never => &mut options,
        };
        Ok(options.open(path)?.into())
    }

    /// Opens `path` for reading.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        simulated!(self, disk => Ok(File(Inner::Simulated(disk.clone(), disk.open(path)?))));
        Ok(fs::File::open(path)?.into())
    }

    /// All of the file `path`.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        simulated!(self, _disk => {
            let file = self.open(path)?;
            let mut bytes = vec![0; file.length()? as usize];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        });
        fs::read(path)
    }

    /// Writes all of the file `path`, unsynced.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.create(path, Create::Empty)?.write_all_at(bytes, 0)
    }

    /// As `rename(2)`.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        simulated!(self, disk => disk.rename(from, to));
        fs::rename(from, to)
    }

    /// Deletes a file.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        simulated!(self, disk => disk.remove_file(path));
        fs::remove_file(path)
    }

    /// Deletes a directory that is empty.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        simulated!(self, disk => disk.remove_dir(path));
        fs::remove_dir(path)
    }

    /// Creates a directory that only this user can enter.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        simulated!(self, disk => disk.create_dir(path));
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    /// The paths in a directory.
    pub fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        simulated!(self, disk => disk.list(path));
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
    }

    /// Whether `path` is a directory.
    pub fn is_dir(&self, path: &Path) -> bool {
        simulated!(self, disk => disk.is_dir(path));
        path.is_dir()
    }

    /// Syncs the names in a directory.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        simulated!(self, disk => disk.sync_dir(path));
        fs::File::open(path)?.sync_all()
    }

    /// The date by the clock of this machine, as the time since 1970.
    pub fn date(&self) -> Duration {
        simulated!(self, disk => disk.date());
        SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
    }

    /// Runs work that waits for this disk where waiting is allowed.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        simulated!(self, disk => {
            tokio::time::sleep(disk.delay()).await;
            Ok(work())
        });
        tokio::task::spawn_blocking(work).await
    }

    /// Between two steps of a thread of its own: in a simulation, others may come in between here.
    pub async fn step(&self) {
        simulated!(self, disk => tokio::time::sleep(disk.delay()).await);
    }
}

impl File {
    /// As `pread(2)`, of as many bytes as are asked for.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        simulated_file!(self, disk, file => disk.read_exact_at(file, bytes, offset));
        self.real().read_exact_at(bytes, offset)
    }

    /// As `pwrite(2)`, of all of the bytes.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        simulated_file!(self, disk, file => disk.write_all_at(file, bytes, offset));
        self.real().write_all_at(bytes, offset)
    }

    /// Cuts it off, or appends zeros.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        simulated_file!(self, disk, file => disk.set_len(file, length));
        self.real().set_len(length)
    }

    /// As `fdatasync(2)`.
    pub fn sync_data(&self) -> io::Result<()> {
        simulated_file!(self, disk, file => disk.sync(file));
        self.real().sync_data()
    }

    /// As `fsync(2)`.
    pub fn sync_all(&self) -> io::Result<()> {
        simulated_file!(self, disk, file => disk.sync(file));
        self.real().sync_all()
    }

    /// All of it from `offset` on will be read soon: the disk may begin at once, with much at a time.
    pub fn will_be_read(&self, offset: u64) {
        match &self.0 {
            Inner::Real(file) => {
                let _ = rustix::fs::fadvise(file, offset, None, rustix::fs::Advice::WillNeed);
            }
            #[cfg(feature = "simulation")]
            Inner::Simulated(..) => {}
        }
    }

    /// Its length in bytes.
    pub fn length(&self) -> io::Result<u64> {
        simulated_file!(self, disk, file => disk.length(file));
        Ok(self.real().metadata()?.len())
    }

    /// Whether no name leads to it any more.
    pub fn is_deleted(&self) -> io::Result<bool> {
        simulated_file!(self, disk, file => Ok(disk.is_deleted(file)));
        Ok(self.real().metadata()?.nlink() == 0)
    }

    /// Takes the lock on it, if nobody has it. Goes with the file.
    pub fn try_lock(&self) -> Result<(), fs::TryLockError> {
        simulated_file!(self, _disk, _file => Ok(()));
        self.real().try_lock()
    }

    fn real(&self) -> &fs::File {
        match &self.0 {
            Inner::Real(file) => file,
            #[cfg(feature = "simulation")]
            Inner::Simulated(..) => unreachable!("it was handed over"),
        }
    }
}
