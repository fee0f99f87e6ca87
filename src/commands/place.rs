//! Where the table is that a command asks, as its options and a settings file say.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use logboom_config::{Settings, Sink};
use url::Url;

use super::up::DEFAULT_STORE;

/// What all tables together are called in SQL.
const ALL: &str = "logs";

/// `[sink]` of this settings file, if there is a file and it has one.
pub fn sink_of(config: Option<&Path>) -> Result<Option<Sink>> {
    Ok(config.map(Settings::load).transpose()?.and_then(|settings| settings.sink))
}

/// A table that is asked together with others.
pub struct NamedTable {
    /// What it is called in SQL.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The options of its store.
    pub options: BTreeMap<String, String>,
}

/// The tables of this settings file, that of `[sink]` first; only the one at `store`, if that is given.
pub fn named_tables(config: Option<&Path>, store: Option<&str>) -> Result<Vec<NamedTable>> {
    let mut sinks: Vec<Sink> = Vec::new();
    match sink_of(config)? {
        None => sinks.push(Sink::at(DEFAULT_STORE)),
        Some(mut sink) => {
            let routes = std::mem::take(&mut sink.routes);
            sinks.push(sink);
            sinks.extend(routes.into_iter().map(|route| route.sink));
        }
    }
    if let Some(url) = store {
        // A table of a route has the options of the route; any other place those of `[sink]`.
        let known = sinks.iter().position(|sink| sink.url == url).unwrap_or(0);
        sinks = vec![Sink { url: url.to_owned(), ..sinks.swap_remove(known) }];
    }
    let names = names(&sinks.iter().map(|sink| sink.url.as_str()).collect::<Vec<_>>());
    let named = names.into_iter().zip(sinks);
    Ok(named.map(|(name, sink)| NamedTable { name, url: sink.url, options: sink.options }).collect())
}

/// A name in SQL for each of these places: as many of its last parts as tell it from the others.
fn names(urls: &[&str]) -> Vec<String> {
    let parts: Vec<Vec<String>> = urls.iter().map(|url| parts(url)).collect();
    let name = |of: &Vec<String>, count: usize| of[of.len().saturating_sub(count)..].join("_");
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let mut names: Vec<String> = Vec::new();
    for (index, of) in parts.iter().enumerate() {
        let is_own = |count: &usize| {
            let text = name(of, *count);
            let is_taken = |(other, of): (usize, &Vec<String>)| other != index && name(of, *count) == text;
            let is_free = !names.contains(&text) && !parts.iter().enumerate().any(is_taken);
            is_free && !text.is_empty() && text != ALL
        };
        let own = (1..=longest).find(is_own).map(|count| name(of, count));
        names.push(own.unwrap_or_else(|| format!("table_{}", index + 1)));
    }
    names
}

/// The parts of a place that can be in a name, from the store down.
fn parts(url: &str) -> Vec<String> {
    let text = match Url::parse(url) {
        Ok(url) => format!("{}/{}", url.host_str().unwrap_or_default(), url.path()),
        Err(_) => url.to_owned(),
    };
    let plain = |part: &str| -> String {
        let plain: String =
            part.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        // A name that begins with a digit would have to be quoted.
        if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("_{plain}") } else { plain }
    };
    text.split(['/', '\\']).filter(|part| !part.is_empty() && *part != "." && *part != "..").map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_by_as_much_of_its_place_as_tells_it_from_others() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&["./tables/rest", "./tables/audit"], &["rest", "audit"]),
            (
                &["s3://logs/table", "s3://audit-logs/table", "s3://logs/system"],
                &["logs_table", "audit_logs_table", "system"],
            ),
            (&["/data/logs", "/data/2026"], &["data_logs", "_2026"]),
            (&["/a/x", "/b/c/x", "/q/x_y", "/x/y", "/z/y"], &["a_x", "c_x", "x_y", "table_4", "z_y"]),
            (&["logs", "Logs/"], &["table_1", "table_2"]),
        ];
        for (urls, expected) in cases {
            assert_eq!(names(urls), expected, "{urls:?}");
        }
    }
}
