//! The categories that this process has made, and the cap on them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use super::OVERFLOW;

/// Categories that may be used. They are not forgotten: what a category was stored under once it stays under.
#[derive(Debug)]
pub(super) struct Categories(Mutex<State>);

#[derive(Debug)]
struct State {
    known: HashSet<String>,
    /// How many more there may be.
    left: usize,
    max: usize,
    warned: bool,
}

impl Default for Categories {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Categories {
    /// Lets records make up as many as `max`.
    pub(super) fn new(max: usize) -> Self {
        let known = HashSet::from([OVERFLOW.to_owned()]);
        Self(Mutex::new(State { known, left: max, max, warned: false }))
    }

    /// Lets this one be used, whatever else is.
    pub(super) fn reserve(&self, category: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.insert(category.to_owned());
    }

    /// Whether this one may be used.
    pub(super) fn admit(&self, category: &str) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.contains(category) {
            return true;
        }
        if state.left == 0 {
            if !std::mem::replace(&mut state.warned, true) {
                let max = state.max;
                warn!(max, %category, "there are as many categories as `adaptor.max_categories` allows; records of further ones \
                    go to {OVERFLOW}, with the category as the attribute {}", super::CATEGORY);
            }
            return false;
        }
        state.left -= 1;
        state.known.insert(category.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_cap_only_known_and_reserved_categories_are_admitted() {
        let categories = Categories::new(2);
        categories.reserve("settings");
        assert_eq!(
            ["a", "b", "c", "a", "settings", OVERFLOW].map(|c| categories.admit(c)),
            [true, true, false, true, true, true]
        );
        categories.reserve("c");
        assert!(categories.admit("c"));
    }
}
