//! Stores on which collectors would lose each other's commits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use logboom_sink::store::probe::{Depth, probe};
use logboom_sink::{Error, Store};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// How a store takes a put-if-absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It does not look at the condition.
    Ignores,
    /// It looks, lets others in between, and puts.
    LooksFirst,
    /// It says that the object exists, and puts it.
    RefusesAndPuts,
    /// It has none.
    HasNone,
    /// It loses some answers, and is right otherwise.
    LosesAnswers,
    /// It never says that anyone has won.
    NobodyWins,
}

#[derive(Debug)]
struct Unfit(InMemory, Manner, AtomicU32);

fn store(manner: Manner) -> Store {
    let objects = Unfit(InMemory::new(), manner, AtomicU32::new(0));
    Store::from_parts(Arc::new(objects), "s3://bucket/table".parse().unwrap())
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_unfit() {
    let error = probe(&store(Manner::Ignores), Depth::Start, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::UnfitStore { .. }), "{error}");
    for part in ["s3://bucket/table", "second put-if-absent", "success", "loses its commit", "docs/stores.md"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_store_that_is_right_one_after_the_other_and_wrong_in_a_race_is_unfit() {
    let error = probe(&store(Manner::LooksFirst), Depth::Start, |_| {}).await.unwrap_err();
    for part in ["of 8 concurrent puts", "won in race 1", "several collectors would each believe"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[tokio::test]
async fn a_store_that_refuses_and_puts_all_the_same_is_unfit() {
    let error = probe(&store(Manner::RefusesAndPuts), Depth::Start, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("replaced the object"), "{error}");
}

#[tokio::test]
async fn a_store_without_put_if_absent_is_unfit() {
    let error = probe(&store(Manner::HasNone), Depth::Start, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("has no put-if-absent"), "{error}");
}

#[tokio::test]
async fn a_store_where_nobody_wins_is_unfit() {
    let error = probe(&store(Manner::NobodyWins), Depth::Start, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("answered with \"exists already\""), "{error}");
}

#[tokio::test]
async fn lost_answers_say_nothing_against_a_store() {
    let store = store(Manner::LosesAnswers);
    let report = probe(&store, Depth::Start, |_| {}).await.unwrap();
    assert!(report.undecided > 0 && report.races == Depth::Start.races(&store), "{report:?}");
}

#[tokio::test]
async fn an_unfit_store_is_left_clean() {
    let store = store(Manner::LooksFirst);
    probe(&store, Depth::Start, |_| {}).await.unwrap_err();
    assert_eq!(crate::table::collector::names(&store).await, []);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_no_unfit_store() {
    let options = [("endpoint", "http://127.0.0.1:9"), ("allow_http", "true"), ("skip_signature", "true")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let store = Store::open("s3://bucket/table", &options).unwrap();
    let error = tokio::time::timeout(std::time::Duration::from_secs(100), probe(&store, Depth::Start, |_| {}));
    let error = error.await.expect("it gives up").unwrap_err();
    assert!(matches!(error, Error::Store { .. }), "{error}");
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store that {:?}", self.1)
    }
}

fn exists(location: &Path) -> object_store::Error {
    object_store::Error::AlreadyExists { path: location.to_string(), source: "412".into() }
}

#[async_trait]
impl ObjectStore for Unfit {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return self.0.put_opts(location, payload, options).await;
        }
        let overwrite = PutOptions { mode: PutMode::Overwrite, ..options.clone() };
        match self.1 {
            Manner::Ignores => self.0.put_opts(location, payload, overwrite).await,
            Manner::LooksFirst => {
                if self.0.head(location).await.is_ok() {
                    return Err(exists(location));
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                self.0.put_opts(location, payload, overwrite).await
            }
            Manner::RefusesAndPuts => {
                let found = self.0.head(location).await;
                let put = self.0.put_opts(location, payload, overwrite).await;
                if found.is_ok() { Err(exists(location)) } else { put }
            }
            Manner::HasNone => Err(object_store::Error::NotImplemented {
                operation: "`put_opts` with mode `PutMode::Create`".into(),
                implementer: "a store".into(),
            }),
            Manner::LosesAnswers => {
                let answer = self.0.put_opts(location, payload, options).await;
                match self.2.fetch_add(1, Ordering::Relaxed) % 17 {
                    // That of the first one in the second race.
                    10 => Err(object_store::Error::Generic { store: "a store", source: "connection reset".into() }),
                    _ => answer,
                }
            }
            Manner::NobodyWins => Err(exists(location)),
        }
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
