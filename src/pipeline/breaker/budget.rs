//! How many batches may be sent again.

use std::sync::atomic::{AtomicI64, Ordering};

/// What a fresh budget holds, so that a gateway with little traffic may retry at all.
const RESERVE: i64 = 10;
/// The most that may be saved in quiet times: an outage must not begin with a flood.
const MOST: i64 = 50;
/// The unit in which shares are counted.
const WHOLE: i64 = 1_000;

/// One sink's retry budget: each first attempt adds its share, each repetition takes one.
#[derive(Debug)]
pub(super) struct Budget {
    share: i64,
    balance: AtomicI64,
}

impl Budget {
    pub(super) fn new(share: f64) -> Self {
        Self {
            share: (share.clamp(0.0, 1.0) * WHOLE as f64) as i64,
            balance: AtomicI64::new(RESERVE * WHOLE),
        }
    }

    /// A batch is sent for the first time.
    pub(super) fn earn(&self) {
        let balance = self.balance.fetch_add(self.share, Ordering::Relaxed) + self.share;
        if balance > MOST * WHOLE {
            // Lanes that come at the same moment may take off a little more than they should.
            self.balance
                .fetch_sub(balance - MOST * WHOLE, Ordering::Relaxed);
        }
    }

    /// A batch is sent again. What has to go may overdraw.
    pub(super) fn spend(&self) {
        self.balance.fetch_sub(WHOLE, Ordering::Relaxed);
    }

    /// Whether another repetition is covered.
    pub(super) fn covers_one(&self) -> bool {
        self.balance.load(Ordering::Relaxed) >= WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_what_is_sent_may_be_sent_again_and_savings_are_bounded() {
        let budget = Budget::new(0.2);
        let mut spent = 0;
        while budget.covers_one() {
            budget.spend();
            spent += 1;
        }
        assert_eq!(spent, RESERVE);
        (0..100).for_each(|_| budget.earn());
        let covered = std::iter::from_fn(|| budget.covers_one().then(|| budget.spend())).count();
        assert_eq!(covered, 20);
        (0..10_000).for_each(|_| budget.earn());
        let covered = std::iter::from_fn(|| budget.covers_one().then(|| budget.spend())).count();
        assert_eq!(covered as i64, MOST);
    }
}
