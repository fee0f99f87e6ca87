//! Where every record of a source goes through on its way into a chunk: its category is chosen, its size is bounded.
//!
//! A plain line of a source with a fixed category costs one copy here; what a record needs beyond that it pays itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use logboom_config::{OnLongLine, Source, Template, category_is_valid};
use logboom_wire::{Record, RunKey};

use super::{Context, kubernetes};
use crate::counters::Counters;
use crate::intake::Chunk;
use crate::route::{Place, Router, View, push_with_category};

/// Most bytes of attributes that records have in common.
const COMMON_BYTES_MAX: usize = 16 << 10;
/// Most attributes of a record.
const ATTRIBUTES_MAX: usize = 256;
/// Most bytes of the attributes of a record.
const ATTRIBUTE_BYTES_MAX: usize = 1 << 20;

/// Puts the records of one file, connection or socket into chunks. A clone shares what its source says and nothing else.
#[derive(Debug)]
pub(crate) struct Funnel {
    shared: Arc<Shared>,
    /// Takes each record past the rules.
    router: Router,
    /// Key of plain lines, once it is known that the rules leave them as they are.
    lines: Option<Arc<RunKey>>,
    counters: Arc<Counters>,
    /// Keys of attributes that no record may have of its own.
    vouched: &'static [&'static str],
    /// Spare memory for a category that is rendered.
    rendered: String,
}

#[derive(Debug)]
struct Shared {
    place: Arc<Place>,
    /// Where the category depends on the record.
    template: Option<Template>,
    /// Attributes of every record.
    attributes: Vec<(String, String)>,
    body_max: usize,
    on_long: OnLongLine,
}

impl Clone for Funnel {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            router: self.router.another(self.router.common().to_vec()),
            lines: None,
            counters: self.counters.clone(),
            vouched: self.vouched,
            rendered: String::new(),
        }
    }
}

impl Funnel {
    /// A funnel for `source`; for a file source, for its file at `file_path`.
    pub(crate) fn new(source: &Source, context: &Context, file_path: Option<&Path>) -> Self {
        Self::with_paths(source, context, file_path, file_path)
    }

    /// A funnel for the file of `source` that was found at `path` and lies at `at`, free of symbolic links. What the paths
    /// say about a container become attributes, and the category if it needs no more: nothing in a record changes that.
    pub(crate) fn of_file(source: &Source, context: &Context, path: &Path, at: &Path) -> Self {
        Self::with_paths(source, context, Some(path), Some(at))
    }

    fn with_paths(source: &Source, context: &Context, file_path: Option<&Path>, at: Option<&Path>) -> Self {
        let mut attributes: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in context.labels.iter().chain(&source.attributes) {
            attributes.insert(key, value.clone());
        }
        if let Some(path) = file_path {
            attributes.insert("log.file.path", path.to_string_lossy().into_owned());
        }
        // The path at which it was found says more than the one where it lies.
        let of_paths = at.into_iter().chain(file_path).flat_map(kubernetes::attributes);
        let of_paths: Vec<(String, String)> = of_paths.map(|(key, value)| (key.to_owned(), value)).collect();
        attributes.extend(of_paths.iter().map(|(key, value)| (key.as_str(), value.clone())));
        let attributes: Vec<_> = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let place = Arc::new(Place {
            source: source.name.clone(),
            host: context.host.clone(),
            file: file_path.map(Path::to_owned),
        });
        let fixed = source.category.needs_only(|name| of_paths.iter().any(|(key, _)| key == name));
        let mut category = String::new();
        source.category.render_into(&place.values(), &View::new(&Record::default(), &of_paths), &mut category);
        let category = place.usable_category(&category).into_owned();
        if !source.category.needs_record() && !source.category.needs_file() {
            context.routes.reserve(&category);
        }
        let (routes, counters, common) = (context.routes.clone(), context.counters.clone(), attributes.clone());
        Self {
            router: Router::new(routes, counters, place.clone(), &category, common, source.max_line),
            lines: None,
            shared: Arc::new(Shared {
                place,
                template: (!fixed).then(|| source.category.clone()),
                attributes,
                body_max: source.max_line,
                on_long: source.on_long_line,
            }),
            counters: context.counters.clone(),
            vouched: &[],
            rendered: String::new(),
        }
    }

    /// Category of records that name none, where it does not depend on the record.
    #[cfg(test)]
    pub(crate) fn category(&self) -> &str {
        self.router.category()
    }

    /// Whether plain lines go past the rules.
    #[cfg(test)]
    pub(crate) fn is_fast(&self) -> bool {
        self.lines.is_some()
    }

    /// How many lanes are remembered.
    #[cfg(test)]
    pub(crate) fn lanes(&self) -> usize {
        self.router.lanes()
    }

    /// Gives the records that follow these attributes in common, besides the source's own, which yield to them. Far
    /// cheaper than to give them to each record.
    pub(crate) fn set_common<'a>(&mut self, common: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut attributes: BTreeMap<&str, &str> =
            self.shared.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let (mut bytes, mut left_out) = (0, 0);
        for (key, value) in common {
            bytes += key.len() + value.len();
            // They stand in the header of a block, which is bounded.
            match bytes <= COMMON_BYTES_MAX {
                true => drop(attributes.insert(key, value)),
                false => left_out += 1,
            }
        }
        self.counters.attributes_dropped.add(left_out);
        let common = self.router.common();
        let same = attributes.len() == common.len()
            && attributes.iter().zip(common).all(|((k, v), (key, value))| k == key && v == value);
        if !same {
            let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            self.router.set_common(attributes);
            self.lines = None;
        }
    }

    /// Takes attributes with these keys off records: what they say is said in common, by somebody who knows.
    pub(crate) fn vouch_for(&mut self, keys: &'static [&'static str]) {
        self.vouched = keys;
    }

    /// Adds the record of a plain line, observed at `observed` (ns since 1970).
    pub(crate) fn line(&mut self, observed: i64, line: &[u8], chunk: &mut Chunk) {
        if let Some(key) = &self.lines
            && line.len() <= self.shared.body_max
        {
            return chunk.rows(key).push_line(observed, line);
        }
        self.record(None, &Record { observed, body: line, ..Record::default() }, chunk);
        if self.shared.template.is_none() {
            self.lines = self.router.plain_lines().cloned();
        }
    }

    /// Adds a record, under `category` if it names one. A name that cannot be a category becomes an attribute. A body
    /// longer than the source's `max_line` is cut, split or dropped as the source says.
    pub(crate) fn record(&mut self, category: Option<&str>, record: &Record<'_>, chunk: &mut Chunk) {
        let max = self.shared.body_max;
        if record.body.len() <= max {
            return self.bounded(category, record, chunk);
        }
        match self.shared.on_long {
            OnLongLine::Truncate => {
                self.counters.lines_truncated.add(1);
                self.bounded(category, &Record { body: &record.body[..max], ..*record }, chunk);
            }
            OnLongLine::Split => {
                self.counters.lines_split.add(1);
                for body in record.body.chunks(max) {
                    self.bounded(category, &Record { body, ..*record }, chunk);
                }
            }
            OnLongLine::Drop => self.counters.lines_dropped_too_long.add(1),
        }
    }

    /// Adds a record whose body is short enough.
    fn bounded(&mut self, category: Option<&str>, record: &Record<'_>, chunk: &mut Chunk) {
        let is_vouched = |(key, _): &&(&str, &str)| self.vouched.contains(key);
        let others: Vec<_>;
        let attributes = match !self.vouched.is_empty() && record.attributes.iter().any(|pair| is_vouched(&pair)) {
            true => {
                others = record.attributes.iter().filter(|pair| !is_vouched(pair)).copied().collect();
                &others[..]
            }
            false => record.attributes,
        };
        let fits = attributes_that_fit(attributes);
        let record = &Record {
            attributes: &attributes[..fits],
            ..{
                self.counters.attributes_dropped.add((record.attributes.len() - fits) as u64);
                *record
            }
        };
        match (category, &self.shared.template) {
            (None, None) => self.router.nameless(record, chunk),
            (Some(name), _) if category_is_valid(name) => self.router.named(name, record, chunk),
            (Some(name), _) => {
                push_with_category(record, name, ATTRIBUTES_MAX, |record| self.router.nameless(record, chunk));
            }
            (None, Some(template)) => {
                let mut name = std::mem::take(&mut self.rendered);
                name.clear();
                let place = &self.shared.place;
                template.render_into(&place.values(), &View::new(record, self.router.common()), &mut name);
                self.router.named(&place.usable_category(&name), record, chunk);
                self.rendered = name;
            }
        }
    }
}

/// How many of the attributes, from the first, stay within the limits.
fn attributes_that_fit(attributes: &[(&str, &str)]) -> usize {
    let mut bytes = 0;
    let within = attributes.iter().take(ATTRIBUTES_MAX).take_while(|(key, value)| {
        bytes += key.len() + value.len();
        bytes <= ATTRIBUTE_BYTES_MAX
    });
    within.count()
}

#[cfg(test)]
mod tests {
    use logboom_config::SourceKind;

    use super::*;
    use crate::source::testing::{Seen, context, taken};

    fn source(category: &str) -> Source {
        Source { category: category.parse().unwrap(), ..Source::new("in", SourceKind::Stdin) }
    }

    fn seen(source: &Source, records: &[(Option<&str>, Record<'_>)]) -> Vec<Seen> {
        let context = context();
        let mut funnel = Funnel::new(source, &context, None);
        let mut chunk = Chunk::default();
        records.iter().for_each(|(category, record)| funnel.record(*category, record, &mut chunk));
        taken(&context.intake, chunk)
    }

    #[test]
    fn a_category_may_come_from_what_the_record_says() {
        let record = |attributes, severity_text| Record { body: b"x", attributes, severity_text, ..Record::default() };
        let seen = seen(
            &source("{app_name}.{severity}"),
            &[
                (None, record(&[("syslog.app_name", "cron")], "info")),
                (None, record(&[("syslog.app_name", "a\nb")], "info")),
                (None, record(&[], "")),
                (Some("named"), record(&[("syslog.app_name", "cron")], "info")),
            ],
        );
        let mut categories: Vec<_> = seen.iter().map(|seen| seen.category.as_str()).collect();
        categories.sort();
        assert_eq!(categories, ["a_b.info", "cron.info", "in.in", "named"]);
    }

    #[test]
    fn common_attributes_fill_templates_and_yield_to_a_records_own() {
        let context = context();
        let mut funnel = Funnel::new(&source("{service.name}"), &context, None);
        let mut chunk = Chunk::default();
        funnel.set_common([("service.name", "shop"), ("k", "common")].into_iter());
        let record = Record { body: b"1", attributes: &[("k", "own")], ..Record::default() };
        funnel.record(None, &record, &mut chunk);
        funnel.line(0, b"2", &mut chunk);
        let common = |body| Seen::new("shop", body).with("service.name", "shop");
        let seen = taken(&context.intake, chunk);
        assert_eq!(seen, [common("1").with("k", "own"), common("2").with("k", "common")]);
    }

    #[test]
    fn a_category_that_needs_only_a_containers_path_does_not_depend_on_the_record() {
        let context = context();
        let path = Path::new("/var/log/pods/shop_cart_1/main/0.log");
        let mut funnel = Funnel::of_file(
            &source("{k8s.namespace.name}.{k8s.container.name}"),
            &context,
            Path::new("/a/b.log"),
            path,
        );
        assert!(funnel.shared.template.is_none());
        let mut chunk = Chunk::default();
        let record = Record { body: b"x", attributes: &[("k8s.namespace.name", "kube-system")], ..Record::default() };
        funnel.record(None, &record, &mut chunk);
        funnel.line(0, b"y", &mut chunk);
        assert_eq!(chunk.keys(), 1);
        let seen = taken(&context.intake, chunk);
        assert!(seen.iter().all(|seen| seen.category == "shop.main"), "{seen:?}");
        assert_eq!((&*seen[1].attributes["k8s.pod.name"], &*seen[1].attributes["log.file.path"]), ("cart", "/a/b.log"));
        let funnel = Funnel::of_file(&source("{k8s.namespace.name}.{severity}"), &context, path, path);
        assert!(funnel.shared.template.is_some());
    }

    #[test]
    fn a_name_that_cannot_be_a_category_becomes_an_attribute() {
        let long = "é".repeat(200);
        let record = Record { body: b"x", ..Record::default() };
        let seen = seen(&source("fixed"), &[(Some("a\0b"), record), (Some(&long), record), (Some(""), record)]);
        let wanted: Vec<_> = seen.iter().map(|seen| seen.attributes["logboom.category"].as_str()).collect();
        assert_eq!(wanted, ["a\0b", &"é".repeat(128), ""]);
        assert!(seen.iter().all(|seen| seen.category == "fixed"));
    }

    #[test]
    fn a_body_or_attributes_beyond_the_limits_are_cut_as_the_source_says_and_counted() {
        let context = context();
        let mut source = source("fixed");
        source.max_line = 4;
        let record = Record { body: b"0123456789", ..Record::default() };
        for (on_long, bodies) in [
            (OnLongLine::Truncate, &["0123"][..]),
            (OnLongLine::Split, &["0123", "4567", "89"]),
            (OnLongLine::Drop, &[]),
        ] {
            source.on_long_line = on_long;
            let mut chunk = Chunk::default();
            Funnel::new(&source, &context, None).record(None, &record, &mut chunk);
            assert_eq!(chunk.records(), bodies.len());
            if !bodies.is_empty() {
                let seen = taken(&context.intake, chunk);
                assert_eq!(seen.iter().map(|seen| seen.body.as_str()).collect::<Vec<_>>(), bodies);
            }
        }
        let counters = &context.counters;
        assert_eq!(
            [&counters.lines_truncated, &counters.lines_split, &counters.lines_dropped_too_long].map(|c| c.get()),
            [1, 1, 1]
        );
        let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let mut chunk = Chunk::default();
        let record = Record { body: b"x", attributes: &many, ..Record::default() };
        Funnel::new(&source, &context, None).record(None, &record, &mut chunk);
        assert_eq!(taken(&context.intake, chunk)[0].attributes.len(), 256);
        assert_eq!(counters.attributes_dropped.get(), 44);
    }

    #[test]
    fn a_producer_that_makes_up_categories_does_not_fill_the_memory() {
        let context = context();
        let mut funnel = Funnel::new(&source("fixed"), &context, None);
        for round in 0..3 {
            let mut chunk = Chunk::default();
            for n in 0..2000 {
                let record = Record { body: b"x", ..Record::default() };
                funnel.record(Some(&format!("{round}.{n}")), &record, &mut chunk);
            }
            assert_eq!(chunk.records(), 2000);
            assert!(chunk.keys() <= 1000 + 1);
            let seen = taken(&context.intake, chunk);
            let (overflow, own): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.category == "_overflow");
            assert_eq!((own.len(), overflow.len()), (1000, 1000));
            assert!(overflow.iter().any(|seen| seen.attributes["logboom.category"] == format!("{round}.1999")));
        }
    }
}
