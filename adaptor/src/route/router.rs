//! One funnel's way through the rules: finds the lane of a record, follows it, and puts the record into the chunk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logboom_config::{CATEGORY_BYTES_MAX, TemplateValues, category_is_valid};
use logboom_wire::{Record, RunKey};

use super::lane::{self, At, BEGINNING, Commons, End, Lane, Phase, Start, Step};
use super::view::Changes;
use super::{CATEGORY, OVERFLOW, Reason, Routes};
use crate::counters::Counters;
use crate::intake::Chunk;

/// Lanes and sets of attributes that are remembered. A producer that makes up more categories makes the router start
/// afresh.
const LANES_MAX: usize = 2000;
const COMMONS_MAX: usize = 256;
/// Categories that a chunk may have, and bytes of their keys, attributes included. A chunk becomes part of one block, whose
/// header is bounded: the rest of it goes to `_overflow`.
const CHUNK_KEYS_MAX: usize = 1000;
const CHUNK_KEY_BYTES_MAX: usize = 1 << 20;
/// Most attributes of a record that goes to `_overflow`.
const ATTRIBUTES_MAX: usize = 256;

/// Where records come from.
#[derive(Debug)]
pub(crate) struct Place {
    /// Name of the source.
    pub(crate) source: String,
    pub(crate) host: Arc<str>,
    pub(crate) file: Option<PathBuf>,
}

impl Place {
    /// What templates can ask of it.
    pub(crate) fn values(&self) -> TemplateValues<'_> {
        let file_path: Option<&Path> = self.file.as_deref();
        TemplateValues { file_path, source: &self.source, host: &self.host }
    }

    /// `rendered` as a category: what a template is filled with, such as a file's name, can be anything.
    pub(crate) fn usable_category<'a>(&self, rendered: &'a str) -> std::borrow::Cow<'a, str> {
        if category_is_valid(rendered) {
            return rendered.into();
        }
        let clean: String = rendered.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
        let text = if clean.is_empty() { &self.source } else { &clean };
        text[..text.floor_char_boundary(CATEGORY_BYTES_MAX)].to_owned().into()
    }
}

/// Takes the records of one funnel through the rules.
#[derive(Debug)]
pub(crate) struct Router {
    routes: Arc<Routes>,
    counters: Arc<Counters>,
    place: Arc<Place>,
    /// The category of records that name none.
    category: Arc<str>,
    /// A redaction does not make a body longer than this.
    body_max: usize,
    commons: Commons,
    lanes: Vec<Lane>,
    /// Numbers of lanes by the category, the start and the attributes in common that they begin with.
    numbers: HashMap<Arc<str>, Vec<(Start, usize, usize)>>,
    /// Keys by category, with the number of the attributes in common: lanes that end alike share one, and so a run.
    keys: HashMap<Arc<str>, Vec<(usize, Arc<RunKey>)>>,
    /// Number of the lane of `category`.
    home: Option<usize>,
    changes: Changes,
    /// Spare memory for a category that is rendered.
    rendered: String,
}

impl Router {
    /// A router for records that have these attributes in common, and `category` where they name none.
    pub(crate) fn new(
        routes: Arc<Routes>,
        counters: Arc<Counters>,
        place: Arc<Place>,
        category: &str,
        common: Vec<(String, String)>,
        body_max: usize,
    ) -> Self {
        Self {
            routes,
            counters,
            place,
            category: category.into(),
            body_max,
            commons: Commons::new(common),
            lanes: Vec::new(),
            numbers: HashMap::new(),
            keys: HashMap::new(),
            home: None,
            changes: Changes::default(),
            rendered: String::new(),
        }
    }

    /// One for the same source that knows `common` and has no memory of its own yet.
    pub(crate) fn another(&self, common: Vec<(String, String)>) -> Self {
        let (routes, counters) = (self.routes.clone(), self.counters.clone());
        Self::new(routes, counters, self.place.clone(), &self.category, common, self.body_max)
    }

    /// The category of records that name none.
    #[cfg(test)]
    pub(crate) fn category(&self) -> &str {
        &self.category
    }

    /// How many lanes are remembered.
    #[cfg(test)]
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The attributes that records have in common, as they come.
    pub(crate) fn common(&self) -> &[(String, String)] {
        self.commons.get(0)
    }

    /// Gives the records that follow these attributes in common.
    pub(crate) fn set_common(&mut self, common: Vec<(String, String)>) {
        self.commons = Commons::new(common);
        self.forget();
    }

    /// The key of plain lines that name no category, where they can go straight into a chunk. It is known once one has
    /// come, and as long as the attributes in common stay what they are.
    pub(crate) fn plain_lines(&self) -> Option<&Arc<RunKey>> {
        match &self.lanes[self.home?] {
            Lane { spares_lines: true, end: End::Key(key), .. } => Some(key),
            _ => None,
        }
    }

    /// Takes a record that names no category.
    pub(crate) fn nameless(&mut self, record: &Record<'_>, chunk: &mut Chunk) {
        self.make_room();
        let home = match self.home {
            Some(home) => home,
            None => {
                let at = At { category: self.category.clone(), common: 0 };
                let home = self.lane(BEGINNING, at, record.observed);
                *self.home.insert(home)
            }
        };
        self.follow(home, record, chunk);
    }

    /// Takes a record of this category, which is valid.
    pub(crate) fn named(&mut self, category: &str, record: &Record<'_>, chunk: &mut Chunk) {
        if category == &*self.category {
            return self.nameless(record, chunk);
        }
        self.make_room();
        let lane = self.lane_of(BEGINNING, category, 0, record.observed);
        self.follow(lane, record, chunk);
    }

    /// Lanes are forgotten between records only: while one is followed their numbers must stay.
    fn make_room(&mut self) {
        if self.lanes.len() >= LANES_MAX || self.commons.len() >= COMMONS_MAX {
            self.commons.reset();
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.lanes.clear();
        self.numbers.clear();
        self.keys.clear();
        self.home = None;
    }

    fn lane_of(&mut self, start: Start, category: &str, common: usize, now: i64) -> usize {
        match self.known(start, category, common) {
            Some(lane) => lane,
            None => self.new_lane(start, At { category: category.into(), common }, now),
        }
    }

    fn lane(&mut self, start: Start, at: At, now: i64) -> usize {
        match self.known(start, &at.category, at.common) {
            Some(lane) => lane,
            None => self.new_lane(start, at, now),
        }
    }

    fn known(&self, start: Start, category: &str, common: usize) -> Option<usize> {
        let known = self.numbers.get(category)?;
        known.iter().find(|(other, c, _)| *other == start && *c == common).map(|(.., lane)| *lane)
    }

    fn new_lane(&mut self, start: Start, at: At, now: i64) -> usize {
        let lane = lane::build(&self.routes, &self.place, &mut self.commons, start, at.clone(), now);
        self.lanes.push(lane);
        let number = self.lanes.len() - 1;
        self.numbers.entry(at.category).or_default().push((start, at.common, number));
        number
    }

    fn follow(&mut self, mut lane: usize, record: &Record<'_>, chunk: &mut Chunk) {
        // The source's own category is taken whatever else is in the chunk.
        let first = (Some(lane) == self.home).then_some(lane);
        self.changes.begin();
        let mut next = 0;
        while let Some(step) = self.lanes[lane].steps.get(next) {
            next += 1;
            match step {
                Step::If { rule, at, common_hold, then } => {
                    let view = self.changes.view(record, self.commons.get(at.common));
                    if self.routes.rules[*rule].holds(&view, *common_hold) {
                        lane = match then {
                            Some(then) => *then,
                            None => self.branch(lane, next - 1, record.observed),
                        };
                        next = 0;
                    }
                }
                Step::SetCategory { rule, at } => {
                    let (rule, common) = (*rule, at.common);
                    let mut name = std::mem::take(&mut self.rendered);
                    name.clear();
                    let view = self.changes.view(record, self.commons.get(common)).of_category(&at.category);
                    let template = self.routes.rules[rule].route.set_category.as_ref();
                    template.into_iter().for_each(|t| t.render_into(&self.place.values(), &view, &mut name));
                    let category = self.place.usable_category(&name);
                    lane = self.lane_of(Start { rule, phase: Phase::Named }, &category, common, record.observed);
                    drop(category);
                    self.rendered = name;
                    next = 0;
                }
                Step::Sample { rule } => {
                    let share = self.routes.rules[*rule].route.sample;
                    if share.is_some_and(|share| !share.keeps(draw(record))) {
                        return self.drop_one(*rule, Reason::Sample, chunk);
                    }
                }
                Step::Remove { rule } => {
                    let globs = self.routes.rules[*rule].route.remove_attributes.as_ref();
                    self.changes.remove(record, |name| globs.is_some_and(|globs| globs.matches(name)));
                }
                Step::Shadow { rule } => {
                    let added = &self.routes.rules[*rule].route.add_attributes;
                    self.changes.remove(record, |name| added.contains_key(name));
                }
                Step::Add { rule } => {
                    let added = &self.routes.rules[*rule].route.add_attributes;
                    added.iter().for_each(|(name, value)| self.changes.set(record, name, value));
                }
                Step::Redact { rule } => {
                    for redaction in &self.routes.rules[*rule].route.redact {
                        if self.changes.redact(record, redaction, self.body_max) {
                            self.counters.lines_truncated.add(1);
                        }
                    }
                }
                Step::Limit { rule, bucket } => {
                    if !bucket.take(record.observed, self.changes.body(record).len()) {
                        return self.drop_one(*rule, Reason::Limit, chunk);
                    }
                }
            }
        }
        self.end(lane, first == Some(lane), record, chunk);
    }

    /// The lane that goes on where the `If` that is this step of this lane holds.
    fn branch(&mut self, lane: usize, step: usize, now: i64) -> usize {
        let Step::If { rule, at, .. } = &self.lanes[lane].steps[step] else { unreachable!("it asked") };
        let branch = self.lane(Start { rule: *rule, phase: Phase::Matched }, at.clone(), now);
        if let Step::If { then, .. } = &mut self.lanes[lane].steps[step] {
            *then = Some(branch);
        }
        branch
    }

    /// Puts a record that went through all steps of a lane where it belongs.
    fn end(&mut self, number: usize, always: bool, record: &Record<'_>, chunk: &mut Chunk) {
        if matches!(self.lanes[number].end, End::Open) {
            self.lanes[number].end = self.decide(number);
        }
        let lane = &self.lanes[number];
        let crowded = chunk.keys() >= CHUNK_KEYS_MAX || chunk.key_bytes() >= CHUNK_KEY_BYTES_MAX;
        match &lane.end {
            End::Key(key) if always || !crowded => {
                self.changes.apply(record, |record| chunk.rows(key).push(record));
            }
            End::Dropped(rule) => {
                let rule = *rule;
                self.drop_one(rule, Reason::Drop, chunk);
            }
            End::Key(_) | End::Overflow | End::Open | End::Elsewhere => {
                let (category, common) = (lane.category.clone(), lane.common);
                self.overflow(&category, common, record, chunk);
            }
        }
    }

    /// Where records that went through this lane are stored.
    fn decide(&mut self, number: usize) -> End {
        let Lane { category, common, .. } = &self.lanes[number];
        if !self.routes.categories.admit(category) {
            return End::Overflow;
        }
        let keys = self.keys.entry(category.clone()).or_default();
        if let Some((_, key)) = keys.iter().find(|(other, _)| other == common) {
            return End::Key(key.clone());
        }
        let key = Arc::new(RunKey {
            category: category.as_ref().to_owned(),
            source: self.place.source.clone(),
            attributes: self.commons.get(*common).to_vec(),
        });
        keys.push((*common, key.clone()));
        End::Key(key)
    }

    /// Under `_overflow`, with the category that it wanted as an attribute.
    fn overflow(&mut self, wanted: &str, common: usize, record: &Record<'_>, chunk: &mut Chunk) {
        let Self { commons, changes, counters, place, .. } = self;
        let common = commons.get_mut(common);
        let key = common.overflow.get_or_insert_with(|| {
            let attributes = common.attributes.clone();
            Arc::new(RunKey { category: OVERFLOW.to_owned(), source: place.source.clone(), attributes })
        });
        counters.records_overflowed.add(1);
        changes.apply(record, |record| {
            push_with_category(record, wanted, ATTRIBUTES_MAX, |record| chunk.rows(key).push(record))
        });
    }

    fn drop_one(&self, rule: usize, reason: Reason, chunk: &mut Chunk) {
        self.routes.rules[rule].count(reason);
        self.counters.records_dropped_by_route.add(1);
        chunk.drop_record();
    }
}

/// Calls `push` with the record and the category that it wanted as an attribute, in at most `attributes_max`.
pub(crate) fn push_with_category(
    record: &Record<'_>,
    wanted: &str,
    attributes_max: usize,
    push: impl FnOnce(&Record<'_>),
) {
    let wanted = &wanted[..wanted.floor_char_boundary(CATEGORY_BYTES_MAX)];
    let mut attributes = Vec::with_capacity(record.attributes.len() + 1);
    attributes.extend(record.attributes.iter().filter(|(key, _)| *key != CATEGORY));
    attributes.truncate(attributes_max - 1);
    attributes.push((CATEGORY, wanted));
    push(&Record { attributes: &attributes, ..*record });
}

/// What a record draws when it is sampled: the end of its trace id, or a random number.
fn draw(record: &Record<'_>) -> u64 {
    match record.trace_id {
        Some(id) if id != [0; 16] => u128::from_be_bytes(id) as u64,
        _ => rand::random(),
    }
}
