//! Asks for room before each call, and gives it back with the outcome.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use tower::Service;

use super::{Priority, Room, Share};
use crate::sink::{Accepted, SinkBatch, SinkError};

/// A lane's way into a sink that many lanes share. It is ready when it has room *and* the inner service is ready.
pub struct Shared<S> {
    inner: S,
    share: Share,
    priority: Priority,
    /// Waiting for room.
    waiting: Option<BoxFuture<'static, Room>>,
    /// The room of the next call.
    room: Option<Room>,
}

impl<S> Shared<S> {
    pub(super) fn new(inner: S, share: Share, priority: Priority) -> Self {
        Self {
            inner,
            share,
            priority,
            waiting: None,
            room: None,
        }
    }
}

impl<S> Service<Arc<SinkBatch>> for Shared<S>
where
    S: Service<Arc<SinkBatch>, Response = Accepted, Error = SinkError>,
    S::Future: Send + 'static,
{
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        // First the sink: whoever has room and cannot use it keeps it from others.
        ready!(self.inner.poll_ready(cx))?;
        if self.room.is_none() {
            let (share, priority) = (&self.share, self.priority);
            let waiting = self.waiting.get_or_insert_with(|| {
                let share = share.clone();
                async move { share.room(priority).await }.boxed()
            });
            let room = ready!(waiting.poll_unpin(cx));
            self.waiting = None;
            self.room = Some(room);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let mut room = self.room.take();
        if let Some(room) = &mut room {
            room.fill(batch.weight());
        }
        let call = self.inner.call(batch);
        Box::pin(async move {
            let accepted = call.await?;
            Ok(Accepted::future(async move {
                let outcome = accepted.await;
                drop(room);
                outcome
            }))
        })
    }
}
