//! How many requests a source handles at once, and how many may wait for it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::within::within;

/// Waiting requests for each one that is handled; more are turned away at once.
const WAITING_FOR_EACH: usize = 16;

/// The room of a source.
pub(super) struct Crowd {
    room: Semaphore,
    size: u32,
    waiting: AtomicUsize,
}

impl Crowd {
    pub(super) fn new(size: u32) -> Self {
        Self {
            room: Semaphore::new(size as usize),
            size,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Room for one request; `None` if there was none in time, or too many wait already. Cancel safe.
    pub(super) async fn enter(&self, limit: Duration) -> Option<SemaphorePermit<'_>> {
        if let Ok(room) = self.room.try_acquire() {
            return Some(room);
        }
        let _waiting = Waiting::begin(self)?;
        let room = within(limit, self.room.acquire()).await?;
        room.ok()
    }

    /// Waits until nobody is inside. Nobody enters afterwards, as long as the result lives.
    pub(super) async fn empty(&self) -> Option<SemaphorePermit<'_>> {
        self.room.acquire_many(self.size).await.ok()
    }
}

struct Waiting<'c>(&'c Crowd);

impl<'c> Waiting<'c> {
    fn begin(crowd: &'c Crowd) -> Option<Self> {
        let most = (crowd.size as usize).saturating_mul(WAITING_FOR_EACH);
        let before = crowd.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(crowd);
        (before < most).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn some_may_wait_and_more_are_turned_away() {
        let crowd = Crowd::new(1);
        let inside = crowd.enter(LONG).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_FOR_EACH)
            .map(|_| Box::pin(crowd.enter(LONG)))
            .collect();
        for one in &mut waiting {
            assert!(futures::poll!(one).is_pending());
        }
        assert!(crowd.enter(LONG).await.is_none(), "one too many");
        waiting.pop();
        let mut another = Box::pin(crowd.enter(LONG));
        assert!(
            futures::poll!(&mut another).is_pending(),
            "a place was given up"
        );
        drop((another, inside));
        let next = waiting.swap_remove(0).await;
        assert!(next.is_some());
        drop((next, waiting));
        assert!(crowd.empty().await.is_some());
        assert!(crowd.enter(LONG).await.is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let crowd = Crowd::new(1);
        let _inside = crowd.enter(LONG).await;
        assert!(crowd.enter(Duration::ZERO).await.is_none());
    }
}
