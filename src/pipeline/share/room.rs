//! Who gets the room in front of a sink.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::Priority;

/// What a batch is promised before its size is known.
const PROMISED: u64 = 64 << 10;

/// For so long a class that had room keeps its part free: outcomes come together, and its next batches right after them.
pub(super) const KEPT_FREE: Duration = Duration::from_millis(50);

/// Bytes that may be under way to a sink. Clones share them.
#[derive(Debug, Clone)]
pub struct Share(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    room: u64,
    classes: [Class; Priority::COUNT],
}

#[derive(Debug, Default)]
struct Class {
    waiting: VecDeque<oneshot::Sender<()>>,
    /// Bytes promised and under way.
    taken: u64,
    /// When it last gave room back.
    gave_back: Option<Instant>,
}

/// Room for one batch. Given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    share: Share,
    priority: Priority,
    bytes: u64,
}

/// A place in a queue. Dropped after it was called, it gives back what it was promised.
struct Place {
    share: Share,
    priority: Priority,
    called: Option<oneshot::Receiver<()>>,
}

impl Share {
    /// Room for so many bytes. The batch that fills a class's part may go over, so that none is too large.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            room: bytes as u64,
            classes: Default::default(),
        })))
    }

    /// Waits for room for one batch. Cancel safe: whoever stops waiting holds nothing, and nobody up.
    pub async fn room(&self, priority: Priority) -> Room {
        let (call, called) = oneshot::channel();
        {
            let mut inner = self.lock();
            inner.classes[priority.index()].waiting.push_back(call);
            inner.call_waiting();
        }
        let mut place = Place {
            share: self.clone(),
            priority,
            called: Some(called),
        };
        if let Some(called) = &mut place.called {
            // The other end is in the queue until it is used.
            let _called = called.await;
        }
        place.called = None;
        self.promised(priority)
    }

    fn promised(&self, priority: Priority) -> Room {
        Room {
            share: self.clone(),
            priority,
            bytes: PROMISED,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Makes it the room of a batch of `bytes`.
    pub fn fill(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        let mut inner = self.share.lock();
        let class = &mut inner.classes[self.priority.index()];
        class.taken = (class.taken + bytes).saturating_sub(self.bytes);
        inner.call_waiting();
        drop(inner);
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut inner = self.share.lock();
        let class = &mut inner.classes[self.priority.index()];
        class.taken = class.taken.saturating_sub(self.bytes);
        class.gave_back = Some(Instant::now());
        inner.call_waiting();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut called) = self.called.take() {
            called.close();
            if called.try_recv().is_ok() {
                drop(self.share.promised(self.priority));
            }
        }
    }
}

impl Inner {
    /// Calls all for whom there is room.
    fn call_waiting(&mut self) {
        for class in &mut self.classes {
            class.waiting.retain(|call| !call.is_closed());
        }
        let now = Instant::now();
        let wanted = |class: &Class| {
            class.taken > 0
                || !class.waiting.is_empty()
                || class.gave_back.is_some_and(|at| now < at + KEPT_FREE)
        };
        let weights: u64 = Priority::ALL
            .into_iter()
            .filter(|priority| wanted(&self.classes[priority.index()]))
            .map(Priority::weight)
            .sum();
        for priority in Priority::ALL {
            let part = self.room * priority.weight() / weights.max(1);
            let class = &mut self.classes[priority.index()];
            while (class.taken < part || class.taken == 0)
                && let Some(call) = class.waiting.pop_front()
            {
                if call.send(()).is_ok() {
                    class.taken += PROMISED;
                }
            }
        }
    }
}
