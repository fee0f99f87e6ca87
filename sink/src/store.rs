//! The place of a table: an object store whose every path is relative to the table's root.
//!
//! | file | what it owns |
//! |---|---|
//! | `cloud` | buckets: S3, Google Cloud Storage, Azure Blob; their options |
//! | `durable` | that what a local folder has taken is on the disk |
//! | `hdfs` | HDFS, with the cargo feature of that name |
//! | `class` | the storage class of sink files |
//! | `probe` | whether a store does what a commit needs |
//!
//! Here is how a place is named. Nothing in here knows what the objects are, but for their names.

mod class;
mod cloud;
mod durable;
#[cfg(feature = "hdfs")]
mod hdfs;
pub mod probe;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::Error;
use crate::paths::Name;
use durable::DurableFolder;

/// The places of a table by their schemes, as messages list them.
const SCHEMES: &str = "a folder, `file`, `memory`, `s3`, `s3a`, `gs`, `az`, `abfs`, `abfss`, `hdfs`";

/// The place of a table. Cheap to clone; clones share connections, and the objects of a `memory://` place.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    url: Url,
}

#[derive(Clone, Copy, PartialEq)]
enum Access {
    Write,
    Read,
}

/// A place as it is named, before anything is opened.
enum Place {
    Folder(PathBuf),
    Memory,
    Bucket(cloud::Provider),
    Hdfs,
}

impl Store {
    /// Opens a place for reading and writing. A local folder is created if it is missing; of a bucket nothing is asked
    /// yet.
    ///
    /// `url` is a folder, `file:///folder`, `memory://` (fresh and empty, gone with its last clone),
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `abfss://container@account.dfs.core.windows.net/prefix` or, with the cargo feature `hdfs`,
    /// `hdfs://namenode:port/folder`. `options` are those of `object_store`'s client of that store (`region`, `endpoint`,
    /// `access_key_id` …), and `storage_class`; they go before what the environment says (`AWS_…`, `GOOGLE_…`,
    /// `AZURE_…`).
    pub fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        Self::open_for(Access::Write, url, options)
    }

    /// Opens a place only to read it: nothing is created, and the folder need not be writable.
    pub fn open_to_read(url: &str, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        Self::open_for(Access::Read, url, options)
    }

    /// Says what is wrong with a place and its options, as far as that shows without asking the place.
    pub fn check(url: &str, options: &BTreeMap<String, String>) -> Result<(), Error> {
        match place(url)? {
            (Place::Folder(_) | Place::Memory, _) => no_options(url, options),
            (Place::Bucket(_) | Place::Hdfs, _) => Self::open_to_read(url, options).map(drop),
        }
    }

    /// A place made of parts. All paths of `objects` are relative to the root of the table, which is shown as `url`.
    pub fn from_parts(objects: Arc<dyn ObjectStore>, url: Url) -> Self {
        Self { objects, url }
    }

    /// The objects, by paths relative to the root of the table.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The root of the table as others name it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Puts an object, durably, whether or not there is one by that name.
    pub async fn put(&self, name: Name, content: bytes::Bytes) -> Result<Path, Error> {
        let path = name.path();
        let put = self.objects.put(&path, content.into()).await;
        put.map(|_| path).map_err(|error| Error::store("writing", name, error))
    }

    fn open_for(access: Access, url: &str, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let (place, parsed) = place(url)?;
        match (place, parsed) {
            (Place::Folder(path), _) => {
                no_options(url, options)?;
                Self::folder(access, &path)
            }
            (Place::Memory, parsed) => {
                no_options(url, options)?;
                Ok(Self::from_parts(Arc::new(InMemory::new()), parsed.expect("it was parsed")))
            }
            (Place::Bucket(provider), parsed) => {
                let parsed = parsed.expect("it was parsed");
                Ok(Self::from_parts(cloud::open(provider, &parsed, options)?, parsed))
            }
            (Place::Hdfs, parsed) => hdfs(parsed.expect("it was parsed"), options),
        }
    }

    fn folder(access: Access, path: &FsPath) -> Result<Self, Error> {
        let failed = |source| Error::Folder { path: path.to_owned(), source };
        if path.as_os_str().is_empty() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "the path is empty")));
        }
        if access == Access::Write {
            durable::create_folder(path).map_err(failed)?;
        }
        let path: PathBuf = path.canonicalize().map_err(failed)?;
        if !path.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let url = Url::from_directory_path(&path).expect("a canonical path is absolute");
        let local = LocalFileSystem::new_with_prefix(&path).map_err(|e| Error::store("opening", path.display(), e))?;
        let objects: Arc<dyn ObjectStore> = match access {
            Access::Write => {
                durable::probe(&path).map_err(failed)?;
                Arc::new(DurableFolder::new(path, local))
            }
            Access::Read => Arc::new(local),
        };
        Ok(Self::from_parts(objects, url))
    }
}

/// What `url` names; with the URL, if it is one.
fn place(url: &str) -> Result<(Place, Option<Url>), Error> {
    let bad = |reason: String| Error::BadUrl { url: url.to_owned(), reason };
    if !url.contains("://") {
        return Ok((Place::Folder(url.into()), None));
    }
    let parsed = Url::parse(url).map_err(|e| bad(e.to_string()))?;
    if parsed.query().is_some() || parsed.fragment().is_some() || parsed.password().is_some() {
        return Err(bad("it has a `?`, a `#` or a password in it; options and secrets go into [sink.options]".into()));
    }
    let place = match parsed.scheme() {
        "file" => {
            let path = parsed.to_file_path();
            Place::Folder(
                path.map_err(|()| bad("a file URL has three slashes and an absolute path: `file:///folder`".into()))?,
            )
        }
        "memory" => Place::Memory,
        "s3" | "s3a" => Place::Bucket(cloud::Provider::S3),
        "gs" => Place::Bucket(cloud::Provider::Gcs),
        "az" | "abfs" | "abfss" => Place::Bucket(cloud::Provider::Azure),
        "hdfs" => Place::Hdfs,
        other => return Err(bad(format!("`{other}` is none of: {SCHEMES}"))),
    };
    Ok((place, Some(parsed)))
}

#[cfg(feature = "hdfs")]
fn hdfs(url: Url, options: &BTreeMap<String, String>) -> Result<Store, Error> {
    Ok(Store::from_parts(hdfs::open(&url, options)?, url))
}

#[cfg(not(feature = "hdfs"))]
fn hdfs(url: Url, _: &BTreeMap<String, String>) -> Result<Store, Error> {
    let reason =
        "this Logboom was built without HDFS; build it with `cargo build --release --features hdfs`".to_owned();
    Err(Error::BadUrl { url: url.into(), reason })
}

fn no_options(url: &str, options: &BTreeMap<String, String>) -> Result<(), Error> {
    match options.keys().next() {
        Some(key) => {
            let fix = "; a folder and `memory://` have none".to_owned();
            Err(Error::BadOption { url: url.to_owned(), key: key.clone(), fix })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str) -> Result<Store, Error> {
        Store::open(url, &BTreeMap::new())
    }

    #[test]
    fn a_missing_folder_is_created_for_a_writer_and_refused_to_a_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b c");
        let url = path.to_str().unwrap();
        let error = Store::open_to_read(url, &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains(url), "{error}");
        assert!(!path.exists());
        let store = open(url).unwrap();
        assert!(path.is_dir());
        assert!(store.url().as_str().starts_with("file:///"));
        assert!(store.url().as_str().ends_with("/a/b%20c/"));
        assert_eq!(open(store.url().as_str()).unwrap().url(), store.url());
    }

    #[test]
    fn a_place_that_cannot_be_a_table_is_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let below = file.join("table");
        for (url, named) in [
            (file.to_str().unwrap(), file.to_str().unwrap()),
            (below.to_str().unwrap(), below.to_str().unwrap()),
            ("ftp://host/x", "ftp"),
            ("file://host/x", "three slashes"),
            ("s3:///x", "s3:///x"),
            ("", "empty"),
        ] {
            let error = open(url).unwrap_err().to_string();
            assert!(error.contains(named), "{url}: {error}");
        }
    }

    #[test]
    fn an_option_that_the_store_does_not_have_is_refused() {
        let options = BTreeMap::from([("regoin".to_owned(), "x".to_owned())]);
        for url in ["s3://bucket/prefix", "memory://", "/tmp"] {
            let error = Store::open(url, &options).unwrap_err().to_string();
            assert!(error.contains("regoin"), "{error}");
        }
    }

    #[test]
    fn a_bucket_needs_no_network_to_be_opened() {
        let options = BTreeMap::from([("region".to_owned(), "x".to_owned())]);
        let store = Store::open("s3://bucket/a/b", &options).unwrap();
        assert_eq!(store.url().as_str(), "s3://bucket/a/b");
        assert!(store.objects().to_string().contains("a/b"));
    }
}
