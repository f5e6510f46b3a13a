//! A commit group and the futures that wait for it.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Sequence;
use super::error::SegmentError;
use super::frame::range;

/// What all appends of one group wait for.
#[derive(Debug, Default)]
pub(super) struct Group {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first sequence of the group's frame, once it is durable.
    outcome: Option<Result<Sequence, SegmentError>>,
    wakers: Vec<Waker>,
}

impl Group {
    /// Answers everyone who waits. The first answer stands.
    pub(super) fn complete(&self, outcome: Result<Sequence, SegmentError>) {
        let wakers = {
            let mut state = self.state.lock();
            state.outcome.get_or_insert(outcome);
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

/// An append on its way to the disk: resolves to the sequences of its records once they are durable.
///
/// Dropping it does not take the records back. Cancel safe.
#[derive(Debug)]
#[must_use = "records count as stored only when the ticket resolves"]
pub struct Ticket {
    group: Arc<Group>,
    index: u32,
    count: u32,
    slot: Option<usize>,
}

impl Ticket {
    pub(super) fn new(group: Arc<Group>, index: u32, count: u32) -> Self {
        Self {
            group,
            index,
            count,
            slot: None,
        }
    }

    /// A ticket for no records at all.
    pub(super) fn resolved(next: Sequence) -> Self {
        let group = Arc::new(Group::default());
        group.complete(Ok(next));
        Self::new(group, 0, 0)
    }
}

impl Future for Ticket {
    type Output = Result<Range<Sequence>, SegmentError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.group.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(
                outcome
                    .clone()
                    .map(|first| range(first, this.index, this.count)),
            );
        }
        match this.slot.and_then(|slot| state.wakers.get_mut(slot)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                this.slot = Some(state.wakers.len());
                state.wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}
