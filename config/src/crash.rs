//! Named points at which a debug build can be told to die, so that tests can try every step of a protocol by itself.
//!
//! `LOGBOOM_CRASH_AT=spool.sync.before:3` aborts the process the third time it comes by that point. Release builds
//! contain none of this.

/// Dies here if the environment says so.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    armed::point(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let wanted = std::env::var("LOGBOOM_CRASH_AT").ok()?;
        let (name, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        let count = count.parse().unwrap_or_else(|_| panic!("LOGBOOM_CRASH_AT={wanted}: no count after the colon"));
        Some((name.to_owned(), AtomicU64::new(count)))
    });

    pub(super) fn point(name: &str) {
        if let Some((armed, left)) = &*ARMED
            && armed == name
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            eprintln!("crash point {name}");
            std::process::abort();
        }
    }
}
