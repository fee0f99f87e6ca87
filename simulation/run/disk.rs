//! A disk in memory. It has a cache, which is what processes see, and below it what is safe: contents that were synced
//! and names whose directory was. When the power goes, of the rest some is there, some is not, and some is torn.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logboom_adaptor::simulation::{Create, SimulatedDisk};

use crate::chance::Chance;
use crate::clock::MachineClock;
use crate::life::Life;
use crate::trace::{Trace, note};

const ROOT: u64 = 0;

/// The disk of one machine; it outlives processes.
#[derive(Debug)]
pub struct Platter {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    chance: Chance,
}

/// What goes wrong at present.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// How often a sync of a file or directory fails.
    pub sync_errors: f64,
    /// The most bytes that files may have.
    pub capacity: Option<u64>,
    /// The longest time that a step takes, ms.
    pub slow_ms: u64,
}

#[derive(Clone, Debug)]
enum Node {
    File(Content),
    Folder(Names),
}

#[derive(Clone, Debug, Default)]
struct Content {
    cache: Vec<u8>,
    safe: Vec<u8>,
    /// What the cache has and the disk may not.
    unsynced: Vec<Write>,
    links: u32,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct Names {
    cache: BTreeMap<String, u64>,
    safe: BTreeMap<String, u64>,
    unsynced: Vec<Rename>,
}

/// A name that appears, goes, or both at once.
#[derive(Clone, Debug)]
struct Rename {
    gone: Option<String>,
    come: Option<(String, u64)>,
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Write::Bytes(offset, bytes) => {
                let end = *offset as usize + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset as usize..end].copy_from_slice(bytes);
            }
            Write::Length(length) => to.resize(*length as usize, 0),
        }
    }
}

impl Rename {
    fn apply(&self, to: &mut BTreeMap<String, u64>) {
        if let Some(gone) = &self.gone {
            to.remove(gone);
        }
        if let Some((name, node)) = &self.come {
            to.insert(name.clone(), *node);
        }
    }
}

fn error(kind: io::ErrorKind) -> io::Error {
    kind.into()
}

fn broken() -> io::Error {
    io::Error::other("simulated EIO")
}

impl Platter {
    pub fn new(chance: &Chance) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Folder(Names::default()))]);
        Self { nodes, next: 1, chance: chance.clone() }
    }

    /// What another machine finds on a copy that was taken without asking this one: as after a power cut.
    pub fn copy(&self) -> Self {
        let mut copy = Self { nodes: self.nodes.clone(), next: self.next, chance: self.chance.clone() };
        copy.cut_power();
        copy
    }

    /// The cache is gone.
    pub fn cut_power(&mut self) {
        let chance = self.chance.clone();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => {
                    let mut safe = std::mem::take(&mut content.safe);
                    let kept = survivors(&chance, content.unsynced.len());
                    for (write, _) in content.unsynced.drain(..).zip(kept).filter(|(_, kept)| *kept) {
                        torn(&chance, write).apply(&mut safe);
                    }
                    content.cache.clone_from(&safe);
                    content.safe = safe;
                }
                Node::Folder(names) => {
                    let kept = survivors(&chance, names.unsynced.len());
                    for (rename, _) in names.unsynced.drain(..).zip(kept).filter(|(_, kept)| *kept) {
                        rename.apply(&mut names.safe);
                    }
                    names.cache.clone_from(&names.safe);
                }
            }
        }
        // What no name leads to is gone.
        let mut reached = vec![ROOT];
        let mut at = 0;
        while let Some(node) = reached.get(at) {
            if let Some(Node::Folder(names)) = self.nodes.get(node) {
                reached.extend(names.cache.values());
            }
            at += 1;
        }
        self.nodes.retain(|node, _| reached.contains(node));
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        for node in nodes {
            let links = self.links(node);
            if let Some(Node::File(content)) = self.nodes.get_mut(&node) {
                content.links = links;
            }
        }
    }

    /// The paths of all segments.
    pub fn segments(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.walk(ROOT, String::new(), &mut found);
        found.retain(|path| path.ends_with(".seg") && !path.contains("/quarantine/"));
        found
    }

    fn walk(&self, folder: u64, path: String, found: &mut Vec<String>) {
        let Some(Node::Folder(names)) = self.nodes.get(&folder) else { return };
        for (name, node) in &names.cache {
            let path = format!("{path}/{name}");
            match self.nodes.get(node) {
                Some(Node::Folder(_)) => self.walk(*node, path, found),
                _ => found.push(path),
            }
        }
    }

    fn links(&self, node: u64) -> u32 {
        let folders = self.nodes.values().filter_map(|node| match node {
            Node::Folder(names) => Some(names),
            Node::File(_) => None,
        });
        folders.flat_map(|names| names.cache.values()).filter(|other| **other == node).count() as u32
    }

    fn bytes(&self) -> u64 {
        let files = self.nodes.values().filter_map(|node| match node {
            Node::File(content) if content.links > 0 => Some(content.cache.len() as u64),
            _ => None,
        });
        files.sum()
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut node = ROOT;
        for part in path.iter().filter(|part| *part != "/") {
            let Some(Node::Folder(names)) = self.nodes.get(&node) else {
                return Err(error(io::ErrorKind::NotADirectory));
            };
            node = *names.cache.get(&*part.to_string_lossy()).ok_or(error(io::ErrorKind::NotFound))?;
        }
        Ok(node)
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut Names> {
        let node = self.find(path)?;
        match self.nodes.get_mut(&node) {
            Some(Node::Folder(names)) => Ok(names),
            _ => Err(error(io::ErrorKind::NotADirectory)),
        }
    }

    fn file(&mut self, node: u64) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(content),
            // The machine went down since it was opened.
            _ => Err(broken()),
        }
    }

    fn rename(&mut self, folder: &Path, gone: Option<String>, come: Option<(String, u64)>) -> io::Result<()> {
        let names = self.folder(folder)?;
        let replaced = come.as_ref().and_then(|(name, _)| names.cache.get(name).copied());
        let left = gone.as_ref().and_then(|name| names.cache.get(name).copied());
        let rename = Rename { gone, come };
        rename.apply(&mut names.cache);
        names.unsynced.push(rename);
        for node in [replaced, left].into_iter().flatten() {
            let links = self.links(node);
            if let Some(Node::File(content)) = self.nodes.get_mut(&node) {
                content.links = links;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<u64> {
        let (parent, name) = parts(path)?;
        self.folder(parent)?;
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        self.rename(parent, None, Some((name, id)))?;
        Ok(id)
    }
}

fn parts(path: &Path) -> io::Result<(&Path, String)> {
    let name = path.file_name().ok_or(error(io::ErrorKind::InvalidInput))?.to_string_lossy().into_owned();
    Ok((path.parent().unwrap_or(Path::new("/")), name))
}

/// Which of so many unsynced changes are on the disk all the same: mostly the first ones, sometimes any.
fn survivors(chance: &Chance, count: usize) -> Vec<bool> {
    if count == 0 {
        return Vec::new();
    }
    if chance.hits(0.3) {
        return (0..count).map(|_| chance.hits(0.5)).collect();
    }
    let first = chance.below(count as u64 + 1) as usize;
    (0..count).map(|at| at < first).collect()
}

/// A write of which perhaps not all has come to the disk, or other bytes than were written.
fn torn(chance: &Chance, write: Write) -> Write {
    match write {
        Write::Bytes(offset, mut bytes) if chance.hits(0.4) => {
            let kept = chance.below(bytes.len() as u64 + 1) as usize;
            match chance.hits(0.5) {
                true => bytes.truncate(kept),
                // The length is there, the sectors are not.
                false => bytes[kept..].fill(0),
            }
            Write::Bytes(offset, bytes)
        }
        write => write,
    }
}

/// The disk as one process has it.
#[derive(Debug)]
pub struct Mounted {
    pub platter: Arc<Mutex<Platter>>,
    pub faults: Arc<Mutex<DiskFaults>>,
    pub life: Arc<Life>,
    pub clock: MachineClock,
    pub chance: Chance,
    pub trace: Trace,
}

impl Mounted {
    fn change<T>(&self, work: impl FnOnce(&mut Platter) -> io::Result<T>) -> io::Result<T> {
        match self.life.effect() {
            true => work(&mut self.platter.lock().unwrap()),
            false => Err(broken()),
        }
    }

    fn look<T>(&self, work: impl FnOnce(&mut Platter) -> io::Result<T>) -> io::Result<T> {
        match self.life.is_dead() {
            false => work(&mut self.platter.lock().unwrap()),
            true => Err(broken()),
        }
    }

    fn sync_fails(&self, what: &str) -> bool {
        let fails = self.chance.hits(self.faults.lock().unwrap().sync_errors);
        if fails {
            note!(self.trace, self.life.name, "a sync fails: {what}");
        }
        fails
    }
}

impl SimulatedDisk for Mounted {
    fn create(&self, path: &Path, how: Create) -> io::Result<u64> {
        let found = self.look(|disk| disk.find(path));
        match (found, how) {
            (Ok(_), Create::New) => Err(error(io::ErrorKind::AlreadyExists)),
            (Ok(node), Create::Empty) => self.set_len(node, 0).map(|()| node),
            (Ok(node), Create::Keep | Create::Never) => Ok(node),
            (Err(found), Create::Never) => Err(found),
            (Err(_), _) => {
                note!(self.trace, self.life.name, "creates {}", path.display());
                self.change(|disk| disk.add(path, Node::File(Content { links: 1, ..Content::default() })))
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<u64> {
        self.look(|disk| disk.find(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        note!(self.trace, self.life.name, "renames {} to {}", from.display(), to.display());
        self.change(|disk| {
            let node = disk.find(from)?;
            let ((of, old), (into, new)) = (parts(from)?, parts(to)?);
            if of == into {
                return disk.rename(of, Some(old), Some((new, node)));
            }
            disk.rename(into, None, Some((new, node)))?;
            disk.rename(of, Some(old), None)
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        note!(self.trace, self.life.name, "deletes {}", path.display());
        self.change(|disk| {
            disk.find(path)?;
            let (parent, name) = parts(path)?;
            disk.rename(parent, Some(name), None)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|disk| {
            if !disk.folder(path)?.cache.is_empty() {
                return Err(error(io::ErrorKind::DirectoryNotEmpty));
            }
            let (parent, name) = parts(path)?;
            disk.rename(parent, Some(name), None)
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.look(|disk| disk.find(path)).is_ok() {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        self.change(|disk| disk.add(path, Node::Folder(Names::default())).map(drop))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.look(|disk| Ok(disk.folder(path)?.cache.keys().map(|name| path.join(name)).collect()))
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.look(|disk| disk.folder(path).map(drop)).is_ok()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.sync_fails(&path.display().to_string()) {
            self.change(|_| Ok(()))?;
            return Err(broken());
        }
        self.change(|disk| {
            let names = disk.folder(path)?;
            names.unsynced.clear();
            names.safe.clone_from(&names.cache);
            Ok(())
        })
    }

    fn read_exact_at(&self, file: u64, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.look(|disk| {
            let content = disk.file(file)?;
            let from = content.cache.get(offset as usize..).and_then(|from| from.get(..bytes.len()));
            bytes.copy_from_slice(from.ok_or(error(io::ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }

    fn write_all_at(&self, file: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let capacity = self.faults.lock().unwrap().capacity;
        let mut bytes = bytes.to_vec();
        let mut outcome = Ok(());
        if self.life.is_dead() {
            return Err(broken());
        }
        if !self.life.effect() {
            // It is killed in the middle of the call.
            bytes.truncate(self.chance.below(bytes.len() as u64 + 1) as usize);
            outcome = Err(broken());
        }
        let mut platter = self.platter.lock().unwrap();
        if let Some(capacity) = capacity {
            let room = capacity.saturating_sub(platter.bytes()) as usize;
            if room < bytes.len() {
                bytes.truncate(room);
                note!(self.trace, self.life.name, "the disk is full");
                outcome = outcome.and(Err(error(io::ErrorKind::StorageFull)));
            }
        }
        let content = platter.file(file)?;
        let write = Write::Bytes(offset, bytes);
        write.apply(&mut content.cache);
        content.unsynced.push(write);
        outcome
    }

    fn set_len(&self, file: u64, length: u64) -> io::Result<()> {
        self.change(|disk| {
            let content = disk.file(file)?;
            let write = Write::Length(length);
            write.apply(&mut content.cache);
            content.unsynced.push(write);
            Ok(())
        })
    }

    fn sync(&self, file: u64) -> io::Result<()> {
        let fails = self.sync_fails("a file");
        let forgets = self.chance.hits(0.5);
        self.change(|disk| {
            let content = disk.file(file)?;
            if fails {
                if forgets {
                    // The kernel takes the pages for clean now: they will never be written.
                    content.unsynced.clear();
                }
                return Err(broken());
            }
            let mut safe = std::mem::take(&mut content.safe);
            content.unsynced.drain(..).for_each(|write| write.apply(&mut safe));
            content.safe = safe;
            Ok(())
        })
    }

    fn length(&self, file: u64) -> io::Result<u64> {
        self.look(|disk| Ok(disk.file(file)?.cache.len() as u64))
    }

    fn is_deleted(&self, file: u64) -> bool {
        self.look(|disk| Ok(disk.file(file)?.links == 0)).unwrap_or(false)
    }

    fn date(&self) -> Duration {
        self.clock.since_1970()
    }

    fn delay(&self) -> Duration {
        let slow_ms = self.faults.lock().unwrap().slow_ms;
        self.life.frozen() + self.chance.millis(0..slow_ms + 1)
    }
}
