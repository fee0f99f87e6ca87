//! Rules that every record passes on its way from its source into a chunk, and the cap on categories.
//!
//! [`Routes`] is what all sources share: the rules, what they counted, their buckets, the categories that are known. Each
//! funnel has a [`Router`], which asks what a rule has to say about a category only once: what is then left to do for each
//! record is a [`lane`]'s steps. Where nothing is left a record costs what it costs without rules.
//!
//! A rule sees a record as it would be stored, after `max_line`, and as the rules before it have left it. What a rule does
//! it does in the order: set the category, sample, remove attributes, add attributes, redact, limit, drop.

mod categories;
mod lane;
mod limit;
mod redact;
mod router;
mod rule;
#[cfg(test)]
mod tests;
mod view;

use logboom_config::{Adaptor as Settings, Route};

use categories::Categories;
use limit::Buckets;
use rule::Rule;

pub(crate) use router::{Place, Router, push_with_category};
pub(crate) use view::View;

/// Where records of a category go that there is no room for. Rules do not see it.
const OVERFLOW: &str = "_overflow";
/// Attribute with the category that a record wanted and cannot have.
const CATEGORY: &str = "logboom.category";

/// Why a rule dropped a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The rule drops all of them.
    Drop,
    /// It was not in the share that is kept.
    Sample,
    /// Its category had used up its limit.
    Limit,
}

impl Reason {
    /// The key in the settings that asked for it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Drop => "drop",
            Reason::Sample => "sample",
            Reason::Limit => "limit",
        }
    }
}

/// The rules of an adaptor and what its sources share for them.
#[derive(Debug, Default)]
pub struct Routes {
    rules: Vec<Rule>,
    categories: Categories,
    buckets: Buckets,
}

impl Routes {
    /// The rules of these settings.
    pub fn new(settings: &Settings) -> Self {
        Self::with(settings.routes.clone(), settings.max_categories)
    }

    fn with(routes: Vec<Route>, max_categories: usize) -> Self {
        let categories = Categories::new(max_categories);
        for template in routes.iter().filter_map(|route| route.set_category.as_ref()) {
            template.plain().into_iter().for_each(|category| categories.reserve(category));
        }
        Self { rules: routes.into_iter().map(Rule::new).collect(), categories, buckets: Buckets::default() }
    }

    /// Keeps room for a category that the settings name.
    pub(crate) fn reserve(&self, category: &str) {
        self.categories.reserve(category);
    }

    /// How many records each rule has dropped, by reason, in the order of the rules; also where it is none.
    pub fn dropped(&self) -> impl Iterator<Item = (&str, Reason, u64)> {
        self.rules.iter().flat_map(|rule| rule.dropped().map(|(reason, records)| (rule.name(), reason, records)))
    }

    /// How many records each rule has dropped, in the order of the rules.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let all = |rule: &Rule| rule.dropped().map(|(_, records)| records).sum();
        self.rules.iter().map(|rule| (rule.name().to_owned(), all(rule))).collect()
    }

    /// What was dropped, as `rule/reason=count` separated by spaces.
    pub fn report(&self) -> String {
        let counts = self.dropped().filter(|(.., records)| *records > 0);
        let texts: Vec<_> =
            counts.map(|(rule, reason, records)| format!("{rule}/{}={records}", reason.name())).collect();
        texts.join(" ")
    }
}
