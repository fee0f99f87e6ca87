//! The different texts of a column chunk, by the order in which they came.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::chunk::push_plain;
use super::hybrid;

/// See the module.
#[derive(Default)]
pub struct Dictionary {
    /// The texts as the dictionary's page has them.
    page: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Dictionary {
    /// The id of a text, which gets one if it has none yet.
    pub fn id(&mut self, text: &[u8]) -> u32 {
        let Self { page, ends, ids, hasher } = self;
        let hash = hasher.hash_one(text);
        let is_it = |id: &u32| text_of(page, ends, *id) == text;
        if let Some(id) = ids.find(hash, is_it) {
            return *id;
        }
        let id = ends.len() as u32;
        push_plain(text, page);
        ends.push(page.len());
        ids.insert_unique(hash, id, |id| hasher.hash_one(text_of(page, ends, *id)));
        id
    }

    /// The text with this id.
    pub fn text(&self, id: u32) -> &[u8] {
        text_of(&self.page, &self.ends, id)
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The dictionary's page.
    pub fn page(&self) -> &[u8] {
        &self.page
    }

    /// The bits of an id.
    pub fn width(&self) -> u8 {
        hybrid::width(self.len())
    }

    /// Appends these ids as a page has them.
    pub fn encode(&self, ids: &[u32], out: &mut Vec<u8>) {
        out.push(self.width());
        hybrid::encode(ids, self.width(), out);
    }
}

fn text_of<'a>(page: &'a [u8], ends: &[usize], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &page[start + size_of::<u32>()..ends[id]]
}
