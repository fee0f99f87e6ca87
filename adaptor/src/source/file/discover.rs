//! Which files there are: the globs, one look at all that they match, and the search for a file that is no longer where
//! it was. Opens no file and remembers none.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use logboom_config::FileSource;

use super::identity::FileId;

/// Most paths of which it is remembered that they were complained about.
const COMPLAINTS_MAX: usize = 10_000;

/// A `*` stays within its folder. A leading dot needs no dot in the glob.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// The globs of a source.
#[derive(Debug)]
pub struct Globs {
    include: Vec<Pattern>,
    exclude: Vec<Exclude>,
}

#[derive(Debug)]
struct Exclude {
    pattern: Pattern,
    /// A glob without a separator is about names, in whatever folder.
    names_only: bool,
}

/// A regular file that the globs match.
#[derive(Debug)]
pub struct Found {
    pub id: FileId,
    pub path: PathBuf,
    pub meta: Metadata,
}

impl Globs {
    pub fn new(settings: &FileSource) -> Result<Self, String> {
        let parse = |key: &str, glob: &str| {
            let plain = glob.strip_prefix("./").unwrap_or(glob);
            Pattern::new(plain).map_err(|error| {
                format!(
                    "`{glob}` in `{key}` is not a glob: {} at character {}; mend the glob",
                    error.msg,
                    error.pos + 1
                )
            })
        };
        let include = settings.include.iter().map(|glob| parse("include", glob)).collect::<Result<_, _>>()?;
        let exclude = settings.exclude.iter().map(|glob| {
            let pattern = parse("exclude", glob)?;
            Ok(Exclude { names_only: !pattern.as_str().contains('/'), pattern })
        });
        Ok(Self { include, exclude: exclude.collect::<Result<_, String>>()? })
    }

    /// Whether a file at `path` would be followed.
    pub fn matches(&self, path: &Path) -> bool {
        self.include.iter().any(|pattern| pattern.matches_path_with(path, OPTIONS)) && !self.excludes(path)
    }

    fn excludes(&self, path: &Path) -> bool {
        self.exclude.iter().any(|exclude| match exclude.names_only {
            true => path.file_name().is_some_and(|name| exclude.pattern.matches_path_with(name.as_ref(), OPTIONS)),
            false => exclude.pattern.matches_path_with(path, OPTIONS),
        })
    }

    /// Every file that matches, once, whatever number of globs, links and paths lead to it. Symbolic links are followed.
    pub fn scan(&self, complaints: &mut Complaints) -> Vec<Found> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for pattern in &self.include {
            // It parsed before, so it parses now.
            let Ok(paths) = glob::glob_with(pattern.as_str(), OPTIONS) else { continue };
            for path in paths {
                let path = match path {
                    Ok(path) => path,
                    Err(error) => {
                        complaints.warn_once(error.path(), &format!("cannot read the folder: {}", error.error()));
                        continue;
                    }
                };
                if self.excludes(&path) {
                    continue;
                }
                match fs::metadata(&path) {
                    Ok(meta) if meta.is_file() => {
                        let id = FileId::of(&meta);
                        if seen.insert(id) {
                            found.push(Found { id, path, meta });
                        }
                    }
                    Ok(_) => complaints.warn_once(&path, "it matches, but is not a regular file; skipped"),
                    // Deleted a moment ago, or a link that leads nowhere yet.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => complaints.warn_once(&path, &format!("cannot look at it: {error}")),
                }
            }
        }
        found
    }
}

/// What was complained about, so that it is said once and not at every look.
#[derive(Debug)]
pub struct Complaints {
    source: String,
    about: HashSet<PathBuf>,
}

impl Complaints {
    pub fn new(source: &str) -> Self {
        Self { source: source.to_owned(), about: HashSet::new() }
    }

    /// Whether this is the first complaint about `path`.
    pub fn first(&mut self, path: &Path) -> bool {
        if self.about.contains(path) {
            return false;
        }
        if self.about.len() >= COMPLAINTS_MAX {
            self.about.clear();
        }
        self.about.insert(path.to_owned())
    }

    /// The next trouble with `path` is news again.
    pub fn settled(&mut self, path: &Path) {
        self.about.remove(path);
    }

    fn warn_once(&mut self, path: &Path, what: &str) {
        if self.first(path) {
            tracing::warn!(source = self.source, path = %path.display(), "{what}");
        }
    }
}

/// What lies in folders, by inode. Each folder is listed when it is first asked for, so make a new one for each look.
#[derive(Debug, Default)]
pub struct Folders(HashMap<PathBuf, Option<HashMap<u64, PathBuf>>>);

impl Folders {
    /// Where the regular file with inode `ino` lies now, if it is in the folder where it lay at `place`.
    pub fn find(&mut self, place: &Path, ino: u64) -> Option<(PathBuf, Metadata)> {
        let folder = place.parent()?;
        if !self.0.contains_key(folder) {
            self.0.insert(folder.to_owned(), list(folder).ok());
        }
        let path = self.0.get(folder)?.as_ref()?.get(&ino)?;
        let meta = fs::metadata(path).ok()?;
        (meta.is_file() && meta.ino() == ino).then(|| (path.clone(), meta))
    }

    /// Whether a file of device `dev` that lay at `place`, and that [`Folders::find`] does not find, is gone from there
    /// for certain. It is not if its folder cannot be listed, or is on another device: then a file system is not mounted.
    pub fn gone(&self, place: &Path, dev: u64) -> bool {
        if place.parent().is_some_and(|folder| matches!(self.0.get(folder), Some(Some(_)))) {
            return place.parent().and_then(|folder| fs::metadata(folder).ok()).is_some_and(|meta| meta.dev() == dev);
        }
        for folder in place.ancestors().skip(1) {
            match fs::metadata(folder) {
                // The nearest folder that is left. The file's own one exists, but could not be listed.
                Ok(meta) => return Some(folder) != place.parent() && meta.dev() == dev,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return false,
            }
        }
        false
    }
}

fn list(folder: &Path) -> io::Result<HashMap<u64, PathBuf>> {
    let mut entries = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        entries.insert(entry.ino(), entry.path());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn globs(include: &[String], exclude: &[&str]) -> Result<Globs, String> {
        let mut settings = FileSource::at(include.to_vec());
        settings.exclude = exclude.iter().map(|&glob| glob.to_owned()).collect();
        Globs::new(&settings)
    }

    fn names(found: &[Found]) -> Vec<String> {
        found.iter().map(|found| found.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_bad_glob_is_refused_with_its_key_and_place() {
        let error = globs(&["/var/log/[a.log".into()], &[]).unwrap_err();
        assert!(error.contains("`/var/log/[a.log`") && error.contains("`include`"), "{error}");
        let error = globs(&["/var/log/*.log".into()], &["a***"]).unwrap_err();
        assert!(error.contains("`exclude`"), "{error}");
    }

    #[test]
    fn a_file_that_several_globs_and_links_lead_to_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        fs::write(dir.path().join("a.log"), "a").unwrap();
        fs::hard_link(dir.path().join("a.log"), dir.path().join("b.log")).unwrap();
        symlink("a.log", dir.path().join("c.log")).unwrap();
        symlink("nowhere", dir.path().join("d.log")).unwrap();
        let globs = globs(&[format!("{root}/*.log"), format!("{root}/a*")], &[]).unwrap();
        assert_eq!(names(&globs.scan(&mut Complaints::new("test"))), ["a.log"]);
    }

    #[test]
    fn excluded_files_folders_and_fifos_are_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        for name in ["a.log", "a.gz", "b.log"] {
            fs::write(dir.path().join(name), "a").unwrap();
        }
        fs::create_dir(dir.path().join("folder.log")).unwrap();
        let fifo = dir.path().join("fifo.log");
        assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
        let globs = globs(&[format!("{root}/*")], &["*.gz", &format!("{root}/b*")]).unwrap();
        assert_eq!(names(&globs.scan(&mut Complaints::new("test"))), ["a.log"]);
        assert!(globs.matches(&dir.path().join("new.log")));
        assert!(!globs.matches(&dir.path().join("new.gz")));
    }

    #[test]
    fn a_complaint_is_made_once_until_it_is_settled() {
        let mut complaints = Complaints::new("test");
        assert!(complaints.first(Path::new("/a")));
        assert!(!complaints.first(Path::new("/a")));
        complaints.settled(Path::new("/a"));
        assert!(complaints.first(Path::new("/a")));
    }

    #[test]
    fn a_file_is_gone_only_where_its_folder_could_have_shown_it() {
        let dir = tempfile::tempdir().unwrap();
        let dev = fs::metadata(dir.path()).unwrap().dev();
        let place = dir.path().join("a.log");
        let mut folders = Folders::default();
        assert!(folders.find(&place, 1).is_none());
        assert!(folders.gone(&place, dev), "the folder is there and does not have it");
        assert!(!folders.gone(&place, dev + 1), "the folder is on another device");
        let deeper = dir.path().join("no/such/folder/a.log");
        assert!(folders.find(&deeper, 1).is_none());
        assert!(folders.gone(&deeper, dev), "its folder went with it");
        let behind_a_file = place.join("a.log");
        fs::write(&place, "").unwrap();
        assert!(!folders.gone(&behind_a_file, dev), "its folder cannot be listed");
    }
}
