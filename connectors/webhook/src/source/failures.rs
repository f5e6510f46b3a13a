//! What a client address may get wrong: forgeries are counted for each, over fixed windows.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use headgate_sdk::{admission::Limited, config::Rate};

/// Addresses that are counted at once; beyond, the counting starts anew.
const MAX_ADDRESSES: usize = 10_000;

/// Failed verifications by address.
pub(super) struct Failures {
    rate: Rate,
    counts: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Failures {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            counts: Mutex::default(),
        }
    }

    /// Counts a failure.
    pub(super) fn charge(&self, client: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_ADDRESSES {
            let period = self.rate.period();
            counts.retain(|_, (since, _)| since.elapsed() < period);
            if counts.len() >= MAX_ADDRESSES {
                counts.clear();
            }
        }
        let (since, count) = counts.entry(client).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= self.rate.period() {
            (*since, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
    }

    /// The limit, if the address has used it up.
    pub(super) fn exhausted(&self, client: IpAddr) -> Option<Limited> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = counts.get(&client)?;
        let left: Duration = self.rate.period().checked_sub(since.elapsed())?;
        (*count >= self.rate.events().get()).then(|| Limited {
            policy: "unverified".into(),
            quota: self.rate.events().get(),
            window: self.rate.period(),
            retry_after: left,
        })
    }
}
