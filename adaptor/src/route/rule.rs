//! One rule: whether it is for a record, and what it has dropped. What it does is a lane's business.

use logboom_config::Route;

use super::Reason;
use super::view::View;
use crate::counters::Counter;

/// A rule and its counts.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) route: Route,
    dropped: Counter,
    left_out: Counter,
    beyond_limit: Counter,
}

impl Rule {
    pub(super) fn new(route: Route) -> Self {
        Self { route, dropped: Counter::default(), left_out: Counter::default(), beyond_limit: Counter::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.route.name
    }

    /// Whether it may be for records of this category and source.
    pub(super) fn is_for(&self, category: &str, source: &str) -> bool {
        let Route { category: categories, source: sources, .. } = &self.route;
        categories.as_ref().is_none_or(|globs| globs.matches(category))
            && sources.as_ref().is_none_or(|globs| globs.matches(source))
    }

    /// Whether it has conditions that differ from record to record.
    pub(super) fn asks_records(&self) -> bool {
        self.route.severity.is_some() || !self.route.attributes.is_empty() || self.route.body.is_some()
    }

    /// Whether these attributes are as it asks.
    pub(super) fn attributes_hold<'a>(&self, attribute: impl Fn(&str) -> Option<&'a str>) -> bool {
        let mut conditions = self.route.attributes.iter();
        conditions.all(|(name, globs)| attribute(name).is_some_and(|value| globs.matches(value)))
    }

    /// Whether a record without attributes of its own and without a severity may be what it asks for, where the
    /// attributes that records have in common are as it asks if `common_hold`.
    pub(super) fn may_hold_for_lines(&self, common_hold: bool) -> bool {
        common_hold && self.severity_holds(0)
    }

    /// Whether a record is what it asks for. `common_hold` as above.
    pub(super) fn holds(&self, view: &View<'_>, common_hold: bool) -> bool {
        self.severity_holds(view.severity_number())
            && match view.has_own_attributes() {
                true => self.attributes_hold(|name| view.find(name)),
                false => common_hold,
            }
            && self.route.body.as_ref().is_none_or(|pattern| pattern.regex().is_match(view.body()))
    }

    fn severity_holds(&self, number: u8) -> bool {
        self.route.severity.as_ref().is_none_or(|severities| severities.contains(number))
    }

    /// Counts a record that it drops.
    pub(super) fn count(&self, reason: Reason) {
        match reason {
            Reason::Drop => self.dropped.add(1),
            Reason::Sample => self.left_out.add(1),
            Reason::Limit => self.beyond_limit.add(1),
        }
    }

    /// The records that it dropped, for each reason that it may have.
    pub(super) fn dropped(&self) -> impl Iterator<Item = (Reason, u64)> {
        let Route { drop, sample, limit, .. } = &self.route;
        let drop = drop.then(|| (Reason::Drop, self.dropped.get()));
        let sample = sample.map(|_| (Reason::Sample, self.left_out.get()));
        let limit = limit.map(|_| (Reason::Limit, self.beyond_limit.get()));
        drop.into_iter().chain(sample).chain(limit)
    }
}
