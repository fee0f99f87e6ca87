//! Panics of the product, kept for the judgement: the runtime catches those of tasks.

use std::cell::RefCell;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics are kept and not printed.
pub fn install() {
    std::panic::set_hook(Box::new(|info| PANICS.with_borrow_mut(|panics| panics.push(info.to_string()))));
}

/// Those of this thread since the last time.
pub fn take() -> Vec<String> {
    PANICS.take()
}
