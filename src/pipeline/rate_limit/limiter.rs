//! The limiter that door and stack share.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};
use headgate_sdk::{Str, config::Rate};

/// Keys that are counted apart at most; beyond, keys that are not yet known share one.
const MAX_KEYS: usize = 100_000;
/// The key of all that came after [`MAX_KEYS`].
const OVERFLOW: Str = Str::new_static("\u{0}overflow");

type Keyed = RateLimiter<Str, HashMapStateStore<Str>, DefaultClock>;

/// A limit with its state. `governor` cannot take a unit back, so refunds are kept as credits and spent first.
pub struct Limiter {
    rate: Rate,
    keyed: Keyed,
    credits: Mutex<HashMap<Str, u32>>,
    clock: DefaultClock,
}

impl Limiter {
    /// A limiter of `rate`, with a burst of a whole period.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let events = rate.events();
        let interval = rate.period() / events.get();
        let quota = Quota::with_period(interval.max(Duration::from_nanos(1)))
            .expect("an interval of at least a nanosecond is a quota")
            .allow_burst(events);
        Self {
            rate,
            keyed: RateLimiter::hashmap(quota),
            credits: Mutex::default(),
            clock: DefaultClock::default(),
        }
    }

    /// Its rate.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Charges one unit.
    ///
    /// # Errors
    /// When the next unit is free.
    pub fn charge(&self, key: &Str) -> Result<(), Duration> {
        let key = self.bounded(key);
        if self.spend_credit(&key) {
            return Ok(());
        }
        self.keyed
            .check_key(&key)
            .map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Gives a unit back.
    pub fn refund(&self, key: &Str) {
        let key = self.bounded(key);
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.rate.events().get();
        let credit = credits.entry(key).or_default();
        *credit = (*credit + 1).min(most);
    }

    /// Waits until `units` are free and charges them, in slices of at most the burst. Cancel safe but for what was charged.
    pub async fn wait(&self, key: &Str, units: usize) {
        let key = self.bounded(key);
        let burst = self.rate.events().get() as usize;
        let mut left = units;
        while let Some(slice) = NonZeroU32::new(u32::try_from(left.min(burst)).unwrap_or(u32::MAX))
        {
            match self.keyed.check_key_n(&key, slice) {
                Ok(Ok(())) => left -= slice.get() as usize,
                Ok(Err(until)) => tokio::time::sleep(until.wait_time_from(self.clock.now())).await,
                Err(_over_burst) => unreachable!("a slice is at most the burst"),
            }
        }
    }

    fn spend_credit(&self, key: &Str) -> bool {
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(credit) = credits.get_mut(key) else {
            return false;
        };
        *credit -= 1;
        if *credit == 0 {
            credits.remove(key);
        }
        true
    }

    /// `key` itself as long as there is room; keys that have recovered their whole burst make room.
    fn bounded(&self, key: &Str) -> Str {
        if self.keyed.len() < MAX_KEYS {
            return key.clone();
        }
        self.keyed.retain_recent();
        if self.keyed.len() < MAX_KEYS {
            key.clone()
        } else {
            OVERFLOW
        }
    }
}
