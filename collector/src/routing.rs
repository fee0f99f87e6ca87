//! Which table a record goes to: the first route whose globs match its category, else the default table.
//!
//! Pure. The tables of a collector are numbered in the order in which they commit: routes as the settings have them, the
//! default table last.

use std::collections::HashMap;

use logboom_config::Globs;
use logboom_wire::Block;

/// The categories of each route, in order.
pub struct Routing(Vec<Globs>);

/// The tables of the categories in one batch. It is no larger than the batch, so nothing that hosts make up stays.
pub struct Placement {
    tables: HashMap<String, usize>,
    default: usize,
}

impl Routing {
    /// Routes with these categories.
    pub fn new(routes: Vec<Globs>) -> Self {
        Self(routes)
    }

    /// The tables that the records of `blocks` go to: globs are asked once for each category, not for each record.
    pub fn place<'a>(&self, blocks: impl Iterator<Item = &'a Block>) -> Placement {
        let default = self.0.len();
        let mut tables = HashMap::new();
        // Without routes there is nothing to remember.
        for run in blocks.filter(|_| default > 0).flat_map(|block| &block.header().runs) {
            if !tables.contains_key(&run.key.category) {
                let route = self.0.iter().position(|globs| globs.matches(&run.key.category));
                tables.insert(run.key.category.clone(), route.unwrap_or(default));
            }
        }
        Placement { tables, default }
    }
}

impl Placement {
    /// The table of a category of the batch.
    pub fn table_of(&self, category: &str) -> usize {
        self.tables.get(category).copied().unwrap_or(self.default)
    }

    /// Whether `block` has records for `table`.
    pub fn has(&self, block: &Block, table: usize) -> bool {
        block.header().runs.iter().any(|run| run.rows > 0 && self.table_of(&run.key.category) == table)
    }
}

/// The routes as the default table's properties keep them.
pub fn text_of<'a>(routes: impl Iterator<Item = (&'a Globs, &'a str)>) -> String {
    let routes = routes.map(|(globs, url)| serde_json::json!({ "categories": globs.texts(), "url": url }));
    serde_json::Value::from(routes.collect::<Vec<_>>()).to_string()
}

/// The places of the tables in such a text.
pub fn urls_in(text: &str) -> Vec<String> {
    let routes: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    routes.iter().filter_map(|route| Some(route.get("url")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_back_from_the_text_that_keeps_them() {
        let globs = Globs::new(["a.*", "\"b\""]).unwrap();
        let text = text_of([(&globs, "s3://a/b"), (&globs, "file:///c")].into_iter());
        assert_eq!(urls_in(&text), ["s3://a/b", "file:///c"]);
        assert_eq!(text_of(std::iter::empty()), "[]");
        for text in ["", "[]", "{}", "[1]", "[{\"url\":1}]", "x"] {
            assert!(urls_in(text).is_empty(), "{text}");
        }
    }
}
