//! Where the Parquet writer keeps the encoded pages of a row group until it is complete: in memory, and counted.
//!
//! The writer's own estimate takes a page that is not full yet for what it is before compression; with the bytes of the
//! full ones known apart, the rest can be judged by how well those compressed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::arrow::arrow_writer::{InMemoryPageStore, PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::errors::Result;

/// Bytes of the pages that are held. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct PagesHeld(Arc<AtomicU64>);

impl PagesHeld {
    /// Bytes, compressed, with the pages' headers.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl PageStoreFactory for PagesHeld {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        Ok(Box::new(CountedPages { pages: InMemoryPageStore::default(), held: self.clone() }))
    }
}

/// Pages of one column of a row group.
struct CountedPages {
    pages: InMemoryPageStore,
    held: PagesHeld,
}

impl PageStore for CountedPages {
    fn put(&mut self, page: Bytes) -> Result<PageKey> {
        self.held.0.fetch_add(page.len() as u64, Ordering::Relaxed);
        self.pages.put(page)
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes> {
        let page = self.pages.take(key)?;
        self.held.0.fetch_sub(page.len() as u64, Ordering::Relaxed);
        Ok(page)
    }

    fn memory_size(&self) -> usize {
        self.pages.memory_size()
    }
}
