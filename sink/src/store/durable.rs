//! A local folder as an object store that has on the disk what it has taken.
//!
//! `LocalFileSystem` writes a file and links it, but syncs neither the file nor its folder: after a power cut a
//! committed table could name empty files. Here an object is synced before its name appears, and the folder that
//! holds the name is synced before the put is answered. Reading and listing are left to `LocalFileSystem`.
//!
//! Ordering, and what breaks otherwise:
//! 1. contents are synced before the name appears, or a power cut leaves a commit that is empty;
//! 2. the name's folder is synced before the answer, or a power cut takes back what was acknowledged;
//! 3. the folder is synced again before a commit is *read*: its writer may have died between 1 and 2, and whoever
//!    trusts what it read (marks, a commit found to be its own) acknowledges on the strength of it.
//!
//! A failed sync is final: the kernel may have dropped the pages and call the next sync a success. The folder then
//! refuses everything until the process is started again.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use crate::paths::LOG_FOLDER;

/// Readers of a table in a folder are those of the folder's group; others see nothing of it.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct DurableFolder {
    disk: Arc<Disk>,
    local: Arc<LocalFileSystem>,
}

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    sync_failed: AtomicBool,
}

/// Creates the folder and makes its name durable.
pub(super) fn create_folder(path: &FsPath) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => FsPath::new("."),
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    create_folder(parent)?;
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result?,
    }
    File::open(parent)?.sync_all()
}

/// Fails if this user cannot write to the folder.
pub(super) fn probe(root: &FsPath) -> io::Result<()> {
    let (_, path) = stage(&root.join("probe"))?;
    fs::remove_file(path)
}

/// A new file beside `target`. Listings skip names that end in `#` and digits.
fn stage(target: &FsPath) -> io::Result<(File, PathBuf)> {
    loop {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{}", rand::random::<u32>()));
        let path = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create_parent(target)?;
            }
            Err(e) => return Err(e),
        }
    }
}

fn create_parent(target: &FsPath) -> io::Result<()> {
    let folder = target.parent().ok_or(io::ErrorKind::NotFound)?;
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

impl DurableFolder {
    pub(super) fn new(root: PathBuf, local: LocalFileSystem) -> Self {
        Self { disk: Arc::new(Disk { root, sync_failed: AtomicBool::new(false) }), local: Arc::new(local) }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        location: &Path,
        work: impl FnOnce(&Disk, &FsPath) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.local.path_to_filesystem(location)?;
        let name = path.display().to_string();
        let disk = Arc::clone(&self.disk);
        let done = tokio::task::spawn_blocking(move || {
            disk.check()?;
            work(&disk, &path)
        });
        let ended = |error: tokio::task::JoinError| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it whoever asked.
            Err(_) => Err(io::Error::other("this process is ending")),
        };
        done.await.unwrap_or_else(ended).map_err(|e| to_store_error(&name, e))
    }
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "an earlier sync to this disk failed, so nothing on it can be trusted; check the disk, then restart",
            ));
        }
        Ok(())
    }

    fn synced(&self, result: io::Result<()>) -> io::Result<()> {
        result.inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
    }

    /// Makes the names on the way from the root to `path` durable. Another process may have created the folders,
    /// so all of them are synced; one that has nothing to sync costs next to nothing.
    fn sync_names(&self, path: &FsPath) -> io::Result<()> {
        for folder in path.ancestors().skip(1) {
            let folder_file = File::open(folder)?;
            self.synced(folder_file.sync_all())?;
            if folder == self.root {
                break;
            }
        }
        Ok(())
    }

    fn put(&self, path: &FsPath, payload: &PutPayload, mode: &PutMode) -> io::Result<()> {
        let (mut file, staged) = stage(path)?;
        let result = payload
            .iter()
            .try_for_each(|chunk| file.write_all(chunk))
            .and_then(|()| self.synced(file.sync_all()))
            .and_then(|()| match mode {
                // A link fails if the name is taken, at once and for every process.
                PutMode::Create => fs::hard_link(&staged, path),
                _ => fs::rename(&staged, path),
            });
        // After a rename it is gone already.
        let _ = fs::remove_file(&staged);
        result?;
        self.sync_names(path)
    }
}

fn to_store_error(path: &str, error: io::Error) -> object_store::Error {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => object_store::Error::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied => object_store::Error::PermissionDenied { path, source: error.into() },
        _ => object_store::Error::Generic { store: "folder", source: format!("{path}: {error}").into() },
    }
}

impl fmt::Display for DurableFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.disk.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableFolder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if matches!(opts.mode, PutMode::Update(_)) || !opts.attributes.is_empty() {
            // Says in its own words what it does not do.
            return self.local.put_opts(location, payload, opts).await;
        }
        self.on_disk(location, move |disk, path| disk.put(path, &payload, &opts.mode)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // The library would let others into a folder that it makes.
        self.on_disk(location, |_, path| create_parent(path)).await?;
        let upload = self.local.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { upload, folder: self.clone(), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let result = self.local.get_opts(location, options).await?;
        if location.as_ref().starts_with(LOG_FOLDER) {
            self.on_disk(location, |disk, path| disk.sync_names(path)).await?;
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.local.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.local.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.local.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.local.copy_opts(from, to, options).await?;
        self.on_disk(to, |disk, path| disk.sync_names(path)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.local.rename_opts(from, to, options).await?;
        self.on_disk(from, |disk, path| disk.sync_names(path)).await?;
        self.on_disk(to, |disk, path| disk.sync_names(path)).await
    }
}

/// An upload in parts. Its name may appear before its contents are synced: nothing names it until it is answered.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    folder: DurableFolder,
    location: Path,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        self.folder
            .on_disk(&self.location, |disk, path| {
                let file = File::open(path)?;
                // Less than that is what the umask wants.
                let mode = file.metadata()?.permissions().mode() & FILE_MODE;
                file.set_permissions(Permissions::from_mode(mode))?;
                disk.synced(file.sync_all())?;
                disk.sync_names(path)
            })
            .await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::{ObjectStoreExt, WriteMultipart};

    use super::*;

    fn folder() -> (tempfile::TempDir, DurableFolder) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let local = LocalFileSystem::new_with_prefix(&root).unwrap();
        (dir, DurableFolder::new(root, local))
    }

    #[tokio::test]
    async fn a_name_is_taken_once() {
        let (dir, folder) = folder();
        let name = Path::from("_delta_log/1.json");
        folder.put_opts(&name, "one".into(), PutMode::Create.into()).await.unwrap();
        let second = folder.put_opts(&name, "two".into(), PutMode::Create.into()).await;
        assert!(matches!(second, Err(object_store::Error::AlreadyExists { .. })), "{second:?}");
        assert_eq!(folder.get(&name).await.unwrap().bytes().await.unwrap(), "one");
        folder.put(&name, "three".into()).await.unwrap();
        assert_eq!(folder.get(&name).await.unwrap().bytes().await.unwrap(), "three");
        let left: Vec<_> = fs::read_dir(dir.path().join("_delta_log")).unwrap().collect();
        assert_eq!(left.len(), 1, "staged files are removed: {left:?}");
    }

    #[tokio::test]
    async fn others_read_no_file_of_a_local_table() {
        let (dir, folder) = folder();
        folder.put_opts(&Path::from("_delta_log/1.json"), "one".into(), PutMode::Create.into()).await.unwrap();
        folder.put(&Path::from("date=2026-01-01/x.parquet"), "x".into()).await.unwrap();
        let mut upload = WriteMultipart::new(folder.put_multipart(&Path::from("parts/x.parquet")).await.unwrap());
        upload.write(b"x");
        upload.finish().await.unwrap();
        create_folder(&dir.path().join("a/b")).unwrap();
        for (path, mode) in [
            ("_delta_log", 0o750),
            ("_delta_log/1.json", 0o640),
            ("date=2026-01-01/x.parquet", 0o640),
            ("parts/x.parquet", 0o640),
            ("a/b", 0o750),
        ] {
            let found = dir.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
            // The umask of whoever runs this may take more away.
            assert_eq!(found & !mode, 0, "{path} has mode {found:o}");
            assert_eq!(found & 0o700, mode & 0o700, "{path} has mode {found:o}");
        }
    }

    #[tokio::test]
    async fn a_file_that_was_staged_when_its_writer_died_is_no_object() {
        let (dir, folder) = folder();
        fs::write(dir.path().join("1.json#77"), "torn").unwrap();
        let listed: Vec<_> = folder.list(None).try_collect().await.unwrap();
        assert_eq!(listed, []);
        folder.put_opts(&Path::from("1.json"), "x".into(), PutMode::Create.into()).await.unwrap();
    }

    #[tokio::test]
    async fn an_upload_in_parts_arrives_whole() {
        let (_dir, folder) = folder();
        let name = Path::from("date=2026-01-01/x.parquet");
        let mut upload = WriteMultipart::new(folder.put_multipart(&name).await.unwrap());
        for _ in 0..3 {
            upload.write(&[7; 6 << 20]);
        }
        upload.finish().await.unwrap();
        assert_eq!(folder.head(&name).await.unwrap().size, 18 << 20);
    }

    #[tokio::test]
    async fn after_a_failed_sync_nothing_is_taken_and_no_commit_is_read() {
        let (_dir, folder) = folder();
        let name = Path::from("_delta_log/1.json");
        folder.put(&name, "x".into()).await.unwrap();
        let failed = folder.disk.synced(Err(io::Error::other("EIO")));
        assert!(failed.is_err());
        assert!(folder.get(&name).await.unwrap_err().to_string().contains("restart"));
        assert!(folder.put(&Path::from("y"), "x".into()).await.unwrap_err().to_string().contains("restart"));
    }
}
