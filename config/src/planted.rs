//! Bugs that are planted in the product, so that it shows whether the simulation would find them.
//!
//! Each is one line beside the right one, and a name. Without the cargo feature `simulation` all of them are compiled
//! away; with it one is there only in a thread that asks for it by name.

/// Whether this bug is wanted here.
#[inline]
#[must_use]
pub fn bug(name: &str) -> bool {
    #[cfg(feature = "simulation")]
    return crate::simulation::is_planted(name);
    #[cfg(not(feature = "simulation"))]
    {
        let _ = name;
        false
    }
}
