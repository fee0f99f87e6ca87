//! A disk whose power can be cut: a file system in memory that remembers what of it is synced.
//!
//! It keeps to what POSIX promises and gives nothing away: what is in a file survives if the file was synced after it
//! was written, and a name survives if its directory was synced after it was made. Real file systems are kinder; most
//! sync a new file's name along with the file. When the power goes, all that is not synced is gone, or an arbitrary part
//! of it, as [`Loss`] says. From then on every call fails, until the disk is mounted again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    FileAttr, FileType, Filesystem, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
};
use nix::libc::{EEXIST, EIO, ENOENT, ENOTEMPTY};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The kernel is to ask each time.
const TTL: Duration = Duration::ZERO;
const ROOT: u64 = 1;
/// What a disk writes at once.
const SECTOR: usize = 512;

/// What a power cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All that is not synced.
    All,
    /// Of all that is not synced an arbitrary part: sectors, lengths and names, each by itself.
    Some { seed: u64 },
}

/// A file or a folder, and what of it is synced.
#[derive(Debug, Default)]
struct Node {
    is_folder: bool,
    content: Vec<u8>,
    synced: Vec<u8>,
    names: BTreeMap<OsString, u64>,
    synced_names: BTreeMap<OsString, u64>,
    modified: Option<SystemTime>,
}

/// See the module.
pub struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    calls: u64,
    cut: Option<(u64, Loss)>,
    is_off: bool,
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        let root = Node { is_folder: true, ..Node::default() };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, calls: 0, cut: None, is_off: false }
    }

    /// Cuts the power before the `at`-th call from now on that changes or syncs anything.
    pub fn cut_at(&mut self, at: u64, loss: Loss) {
        (self.calls, self.cut) = (0, Some((at, loss)));
    }

    /// Calls that changed or synced anything, since [`Disk::cut_at`] or the beginning.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.is_off
    }

    /// The power is back.
    pub fn restore(&mut self) {
        (self.cut, self.is_off) = (None, false);
    }

    /// A call that only reads.
    fn read(&self) -> Result<(), i32> {
        if self.is_off { Err(EIO) } else { Ok(()) }
    }

    /// A call that changes or syncs something: before it the power may go.
    fn change(&mut self) -> Result<(), i32> {
        self.read()?;
        self.calls += 1;
        if let Some((at, loss)) = self.cut
            && self.calls >= at
        {
            self.is_off = true;
            self.lose(loss);
        }
        self.read()
    }

    fn lose(&mut self, loss: Loss) {
        let mut random = match loss {
            Loss::All => None,
            Loss::Some { seed } => Some(StdRng::seed_from_u64(seed)),
        };
        let mut is_kept = || random.as_mut().is_some_and(|random| random.random());
        for node in self.nodes.values_mut() {
            let length = if is_kept() { node.content.len() } else { node.synced.len() };
            let written = std::mem::take(&mut node.content);
            node.content = node.synced.clone();
            node.content.resize(length, 0);
            for (sector, kept) in node.content.chunks_mut(SECTOR).enumerate() {
                let from = (sector * SECTOR).min(written.len());
                let to = (from + kept.len()).min(written.len());
                if is_kept() {
                    kept[..to - from].copy_from_slice(&written[from..to]);
                }
            }
            node.synced.clone_from(&node.content);
            let names: BTreeSet<OsString> = node.names.keys().chain(node.synced_names.keys()).cloned().collect();
            for name in names {
                let survives = if is_kept() { node.names.get(&name) } else { node.synced_names.get(&name) };
                match survives.copied() {
                    Some(number) => node.synced_names.insert(name, number),
                    None => node.synced_names.remove(&name),
                };
            }
            node.names.clone_from(&node.synced_names);
        }
    }

    fn attributes(&self, number: u64) -> Result<FileAttr, i32> {
        let node = self.nodes.get(&number).ok_or(ENOENT)?;
        let time = node.modified.unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(FileAttr {
            ino: number,
            size: node.content.len() as u64,
            blocks: node.content.len().div_ceil(SECTOR) as u64,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if node.is_folder { FileType::Directory } else { FileType::RegularFile },
            perm: if node.is_folder { 0o700 } else { 0o600 },
            nlink: 1,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn node(&mut self, number: u64) -> Result<&mut Node, i32> {
        self.nodes.get_mut(&number).ok_or(ENOENT)
    }

    fn find(&self, folder: u64, name: &OsStr) -> Result<u64, i32> {
        self.nodes.get(&folder).and_then(|folder| folder.names.get(name)).copied().ok_or(ENOENT)
    }

    fn create(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Result<FileAttr, i32> {
        self.change()?;
        if self.find(folder, name).is_ok() {
            return Err(EEXIST);
        }
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, Node { is_folder, modified: Some(SystemTime::now()), ..Node::default() });
        self.node(folder)?.names.insert(name.to_owned(), number);
        self.attributes(number)
    }

    fn remove(&mut self, folder: u64, name: &OsStr) -> Result<(), i32> {
        self.change()?;
        let number = self.find(folder, name)?;
        if !self.node(number)?.names.is_empty() {
            return Err(ENOTEMPTY);
        }
        // The node stays: files that are open, and a name that comes back, need it.
        self.node(folder)?.names.remove(name);
        Ok(())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), i32> {
        self.change()?;
        let number = self.find(from.0, from.1)?;
        self.node(from.0)?.names.remove(from.1);
        self.node(to.0)?.names.insert(to.1.to_owned(), number);
        Ok(())
    }

    fn link(&mut self, number: u64, folder: u64, name: &OsStr) -> Result<FileAttr, i32> {
        self.change()?;
        if self.find(folder, name).is_ok() {
            return Err(EEXIST);
        }
        self.node(folder)?.names.insert(name.to_owned(), number);
        self.attributes(number)
    }

    fn write(&mut self, number: u64, offset: usize, data: &[u8]) -> Result<u32, i32> {
        self.change()?;
        let node = self.node(number)?;
        node.modified = Some(SystemTime::now());
        if node.content.len() < offset + data.len() {
            node.content.resize(offset + data.len(), 0);
        }
        node.content[offset..offset + data.len()].copy_from_slice(data);
        Ok(data.len() as u32)
    }

    fn resize(&mut self, number: u64, size: Option<u64>) -> Result<FileAttr, i32> {
        if let Some(size) = size {
            self.change()?;
            self.node(number)?.content.resize(size as usize, 0);
        }
        self.read()?;
        self.attributes(number)
    }

    fn sync(&mut self, number: u64) -> Result<(), i32> {
        self.change()?;
        let node = self.node(number)?;
        node.synced.clone_from(&node.content);
        node.synced_names.clone_from(&node.names);
        Ok(())
    }
}

/// The calls of the kernel.
pub struct Calls(pub Arc<Mutex<Disk>>);

impl Calls {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

fn entry(result: Result<FileAttr, i32>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&TTL, &attributes, 0),
        Err(error) => reply.error(error),
    }
}

fn empty(result: Result<(), i32>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Calls {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        entry(disk.read().and_then(|()| disk.attributes(disk.find(parent, name)?)), reply);
    }

    fn getattr(&mut self, _: &Request<'_>, ino: u64, _fh: Option<u64>, reply: ReplyAttr) {
        let disk = self.disk();
        match disk.read().and_then(|()| disk.attributes(ino)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<u64>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<u32>,
        reply: ReplyAttr,
    ) {
        match self.disk().resize(ino, size) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        entry(self.disk().create(parent, name, true), reply);
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        empty(self.disk().remove(parent, name), reply);
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        empty(self.disk().remove(parent, name), reply);
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        newparent: u64,
        newname: &OsStr,
        _flags: u32,
        reply: ReplyEmpty,
    ) {
        empty(self.disk().rename((parent, name), (newparent, newname)), reply);
    }

    fn link(&mut self, _: &Request<'_>, ino: u64, newparent: u64, newname: &OsStr, reply: ReplyEntry) {
        entry(self.disk().link(ino, newparent, newname), reply);
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.disk().create(parent, name, false) {
            Ok(attributes) => reply.created(&TTL, &attributes, 0, 0, 0),
            Err(error) => reply.error(error),
        }
    }

    fn open(&mut self, _: &Request<'_>, _ino: u64, _flags: i32, reply: ReplyOpen) {
        match self.disk().read() {
            Ok(()) => reply.opened(0, 0),
            Err(error) => reply.error(error),
        }
    }

    fn opendir(&mut self, _: &Request<'_>, _ino: u64, _flags: i32, reply: ReplyOpen) {
        match self.disk().read() {
            Ok(()) => reply.opened(0, 0),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        size: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyData,
    ) {
        let mut disk = self.disk();
        match disk.read().and_then(|()| disk.node(ino)) {
            Ok(node) => {
                let from = (offset as usize).min(node.content.len());
                let to = (from + size as usize).min(node.content.len());
                reply.data(&node.content[from..to]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        data: &[u8],
        _write_flags: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(ino, offset as usize, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&mut self, _: &Request<'_>, _ino: u64, _fh: u64, _lock_owner: u64, reply: ReplyEmpty) {
        empty(self.disk().read(), reply);
    }

    fn fsync(&mut self, _: &Request<'_>, ino: u64, _fh: u64, _datasync: bool, reply: ReplyEmpty) {
        empty(self.disk().sync(ino), reply);
    }

    fn fsyncdir(&mut self, _: &Request<'_>, ino: u64, _fh: u64, _datasync: bool, reply: ReplyEmpty) {
        empty(self.disk().sync(ino), reply);
    }

    fn readdir(&mut self, _: &Request<'_>, ino: u64, _fh: u64, offset: i64, mut reply: ReplyDirectory) {
        let disk = self.disk();
        let Some(folder) = disk.nodes.get(&ino).filter(|_| !disk.is_off) else { return reply.error(EIO) };
        let dots = [".", ".."].map(|name| (OsString::from(name), ino, FileType::Directory));
        let names = folder.names.iter().map(|(name, number)| {
            let is_folder = disk.nodes[number].is_folder;
            (name.clone(), *number, if is_folder { FileType::Directory } else { FileType::RegularFile })
        });
        let all = dots.into_iter().chain(names).enumerate().skip(offset as usize);
        for (at, (name, number, kind)) in all {
            if reply.add(number, at as i64 + 1, kind, &name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&mut self, _: &Request<'_>, _ino: u64, reply: ReplyStatfs) {
        let blocks = 1 << 20;
        reply.statfs(blocks, blocks, blocks, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
