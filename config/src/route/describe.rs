//! A rule in words, for an operator to read before it acts.

use super::{Limit, Redaction, Route};
use crate::{ByteSize, HumanDuration};

impl Route {
    /// What it is for and what it does, on one line.
    pub(crate) fn describe(&self) -> String {
        let conditions = self.conditions();
        let records = match conditions.is_empty() {
            true => "every record".to_owned(),
            false => format!("records with {}", conditions.join(", ")),
        };
        let mut text = format!("rule {}: {records}: {}", self.name, self.actions().join(", "));
        if self.stop {
            text += if self.actions().is_empty() { "no further rule" } else { ", then no further rule" };
        }
        text
    }

    fn conditions(&self) -> Vec<String> {
        let category = self.category.iter().map(|globs| format!("category {globs}"));
        let source = self.source.iter().map(|globs| format!("source {globs}"));
        let severity = self.severity.iter().map(|severities| format!("severity {severities}"));
        let attributes = self.attributes.iter().map(|(name, globs)| format!("{name} {globs}"));
        let body = self.body.iter().map(|pattern| format!("body /{pattern}/"));
        category.chain(source).chain(severity).chain(attributes).chain(body).collect()
    }

    fn actions(&self) -> Vec<String> {
        let mut actions = Vec::new();
        actions.extend(self.set_category.iter().map(|category| format!("get the category {category}")));
        actions.extend(self.remove_attributes.iter().map(|globs| format!("lose the attributes {globs}")));
        if !self.add_attributes.is_empty() {
            let names: Vec<&str> = self.add_attributes.keys().map(String::as_str).collect();
            actions.push(format!("get the attributes {}", names.join(", ")));
        }
        actions.extend(self.redact.iter().map(Redaction::describe));
        actions.extend(self.sample.iter().map(|share| format!("{share} of them are kept")));
        actions.extend(self.limit.iter().map(Limit::describe));
        if self.drop {
            actions.push("are dropped".to_owned());
        }
        actions
    }
}

impl Redaction {
    fn describe(&self) -> String {
        let body = self.body.then(|| "the body".to_owned());
        let attributes = self.attributes.iter().map(|globs| format!("the attributes {globs}"));
        let places: Vec<String> = body.into_iter().chain(attributes).collect();
        format!("have /{}/ replaced in {}", self.pattern, places.join(" and "))
    }
}

impl Limit {
    fn describe(&self) -> String {
        let records = self.records_per_second.map(|records| format!("{records} records"));
        let bytes = self.bytes_per_second.map(|bytes| ByteSize(bytes).to_string());
        let rates: Vec<String> = records.into_iter().chain(bytes).collect();
        let (rates, burst) = (rates.join(" and "), HumanDuration(self.burst));
        format!("at most {rates} a second of each category are kept (burst {burst})")
    }
}
