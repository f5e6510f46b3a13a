//! Places where a test can let the process die: between "written at the sink", "checkpoint stored" and "source told".
//!
//! `HEADGATE_FAILPOINT=checkpoint-stored:3` aborts the process, as SIGKILL would, when it comes to that place for the third time.
//! Only in builds with debug assertions; in others this is nothing. `tests/behaviour/ledger` kills at each of them.

/// The process comes to the place of this name.
#[cfg(debug_assertions)]
pub(crate) fn reach(place: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.get_or_init(|| {
        let asked = std::env::var("HEADGATE_FAILPOINT").ok()?;
        let (place, times) = asked.split_once(':')?;
        Some((place.to_owned(), times.parse().ok()?))
    });
    if let Some((wanted, times)) = asked
        && wanted == place
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *times
    {
        std::process::abort();
    }
}

/// The process comes to the place of this name.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn reach(_: &'static str) {}
