//! What is left to do for records of one category and one source, once the rules were asked about these two.
//!
//! A lane begins at some rule with a category and with the attributes that the records have in common. Rules that ask for
//! nothing else are applied while the lane is built: to the category, and to the attributes in common. What differs from
//! record to record becomes a [`Step`]. A step that sends a record under another category, or that finds out that a rule is
//! for it, goes on in the lane that begins there.

use std::sync::Arc;

use logboom_wire::RunKey;

use super::Routes;
use super::limit::Bucket;
use super::redact::redact_attributes;
use super::router::Place;
use super::rule::Rule;
use super::view::View;

/// Most bytes of attributes in common that rules make longer: they stand in the header of a block, which is bounded.
const COMMON_BYTES_MAX: usize = 16 << 10;

/// Where a lane begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Number of the rule.
    pub(super) rule: usize,
    pub(super) phase: Phase,
}

/// How much of the first rule is already known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Whole,
    /// It is for this record.
    Matched,
    /// It is for this record, and has set its category.
    Named,
}

/// Where records begin that no rule has seen yet.
pub(super) const BEGINNING: Start = Start { rule: 0, phase: Phase::Whole };

/// What records of a category go through.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
    /// The category at its end.
    pub(super) category: Arc<str>,
    /// Number of the attributes in common at its end.
    pub(super) common: usize,
    /// Whether its steps have nothing to do for a plain line.
    pub(super) spares_lines: bool,
}

/// What is asked of or done to each record. Rules are named by number.
#[derive(Debug)]
pub(super) enum Step {
    /// Goes to the lane `then`, once it is known which that is, if the rule is for the record.
    If { rule: usize, at: At, common_hold: bool, then: Option<usize> },
    /// Goes to the lane of the category that the rule gives the record.
    SetCategory { rule: usize, at: At },
    /// Keeps a share.
    Sample { rule: usize },
    /// Takes attributes away.
    Remove { rule: usize },
    /// Takes attributes away that the rule has added to those in common.
    Shadow { rule: usize },
    /// Adds attributes.
    Add { rule: usize },
    /// Redacts.
    Redact { rule: usize },
    /// Keeps what the bucket allows.
    Limit { rule: usize, bucket: Arc<Bucket> },
}

/// What holds at a step: static rules before it have been applied.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) category: Arc<str>,
    /// Number of the attributes in common.
    pub(super) common: usize,
}

/// What becomes of a record after the last step.
#[derive(Debug)]
pub(super) enum End {
    /// It is stored; no record has come here yet, so the category has not been asked for.
    Open,
    /// It is stored under this key.
    Key(Arc<RunKey>),
    /// It is stored under `_overflow`.
    Overflow,
    /// The rule drops it.
    Dropped(usize),
    /// Its steps send every record elsewhere.
    Elsewhere,
}

/// Sets of attributes that records have in common, each once. The first is the funnel's.
#[derive(Debug)]
pub(super) struct Commons(Vec<Common>);

#[derive(Debug)]
pub(super) struct Common {
    pub(super) attributes: Vec<(String, String)>,
    /// Key of records that go to `_overflow`.
    pub(super) overflow: Option<Arc<RunKey>>,
}

impl Commons {
    pub(super) fn new(attributes: Vec<(String, String)>) -> Self {
        Self(vec![Common { attributes, overflow: None }])
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Leaves only the funnel's.
    pub(super) fn reset(&mut self) {
        self.0.truncate(1);
    }

    pub(super) fn get(&self, number: usize) -> &[(String, String)] {
        &self.0[number].attributes
    }

    pub(super) fn get_mut(&mut self, number: usize) -> &mut Common {
        &mut self.0[number]
    }

    fn number(&mut self, attributes: Vec<(String, String)>) -> usize {
        self.0.iter().position(|common| common.attributes == attributes).unwrap_or_else(|| {
            self.0.push(Common { attributes, overflow: None });
            self.0.len() - 1
        })
    }
}

/// Builds the lane that begins at `start` with this category and these attributes in common. `now` is the time for new
/// buckets, ns since 1970.
pub(super) fn build(routes: &Routes, place: &Place, commons: &mut Commons, start: Start, at: At, now: i64) -> Lane {
    let mut builder = Builder { routes, place, commons, steps: Vec::new(), at, now };
    let end = builder.run(start);
    let Builder { steps, at: At { category, common }, .. } = builder;
    let spares_lines = !steps.iter().any(|step| changes_lines(&routes.rules, step));
    Lane { steps, end, category, common, spares_lines }
}

struct Builder<'a> {
    routes: &'a Routes,
    place: &'a Place,
    commons: &'a mut Commons,
    steps: Vec<Step>,
    at: At,
    now: i64,
}

impl Builder<'_> {
    fn run(&mut self, start: Start) -> End {
        let mut phase = start.phase;
        for (number, rule) in self.routes.rules.iter().enumerate().skip(start.rule) {
            // Of the attributes that a rule adds for some records only, those records alone are to be told apart.
            let for_all = phase == Phase::Whole;
            if for_all {
                if !rule.is_for(&self.at.category, &self.place.source) {
                    continue;
                }
                if rule.asks_records() {
                    self.ask(number, rule);
                    continue;
                }
            }
            if std::mem::replace(&mut phase, Phase::Whole) != Phase::Named
                && let Some(template) = &rule.route.set_category
            {
                if template.needs_record() {
                    self.steps.push(Step::SetCategory { rule: number, at: self.at.clone() });
                    return End::Elsewhere;
                }
                let record = logboom_wire::Record::default();
                let view = View::new(&record, &[]).of_category(&self.at.category);
                let mut category = String::new();
                template.render_into(&self.place.values(), &view, &mut category);
                self.at.category = self.place.usable_category(&category).into();
            }
            self.change(number, rule, for_all);
            if rule.route.drop {
                return End::Dropped(number);
            }
            if rule.route.stop {
                break;
            }
        }
        End::Open
    }

    /// Leaves it to each record whether the rule is for it.
    fn ask(&mut self, number: usize, rule: &Rule) {
        let common = self.commons.get(self.at.common);
        let find = |name: &str| common.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let common_hold = rule.attributes_hold(find);
        self.steps.push(Step::If { rule: number, at: self.at.clone(), common_hold, then: None });
    }

    /// What the rule does to every record that comes here, but for its category.
    fn change(&mut self, number: usize, rule: &Rule, for_all: bool) {
        let route = &rule.route;
        if route.sample.is_some() {
            self.steps.push(Step::Sample { rule: number });
        }
        if let Some(globs) = &route.remove_attributes {
            let common = self.commons.get(self.at.common);
            let kept: Vec<_> = common.iter().filter(|(name, _)| !globs.matches(name)).cloned().collect();
            self.at.common = self.commons.number(kept);
            self.steps.push(Step::Remove { rule: number });
        }
        if !route.add_attributes.is_empty() {
            let mut common = self.commons.get(self.at.common).to_vec();
            common.retain(|(name, _)| !route.add_attributes.contains_key(name));
            common.extend(route.add_attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
            common.sort();
            match for_all && bytes(&common) <= COMMON_BYTES_MAX {
                true => {
                    self.at.common = self.commons.number(common);
                    self.steps.push(Step::Shadow { rule: number });
                }
                false => self.steps.push(Step::Add { rule: number }),
            }
        }
        if !route.redact.is_empty() {
            let mut common = self.commons.get(self.at.common).to_vec();
            for redaction in &route.redact {
                let mut changed = Vec::new();
                let attributes = common.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                redact_attributes(redaction, attributes, COMMON_BYTES_MAX, |index, value| changed.push((index, value)));
                changed.into_iter().for_each(|(index, value)| common[index].1 = value);
            }
            self.at.common = self.commons.number(common);
            self.steps.push(Step::Redact { rule: number });
        }
        if let Some(limit) = route.limit {
            let bucket = self.routes.buckets.get(number, limit, &self.at.category, self.now);
            self.steps.push(Step::Limit { rule: number, bucket });
        }
    }
}

fn bytes(attributes: &[(String, String)]) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Whether a step may change what becomes of a record that is nothing but a line.
fn changes_lines(rules: &[Rule], step: &Step) -> bool {
    match step {
        Step::If { rule, common_hold, .. } => rules[*rule].may_hold_for_lines(*common_hold),
        Step::Redact { rule } => rules[*rule].route.redact.iter().any(|redaction| redaction.body),
        Step::Remove { .. } | Step::Shadow { .. } => false,
        Step::SetCategory { .. } | Step::Sample { .. } | Step::Add { .. } | Step::Limit { .. } => true,
    }
}
