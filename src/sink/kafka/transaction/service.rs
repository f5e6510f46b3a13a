//! A lane's way to its shard.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use headgate_sdk::Str;
use tokio::sync::oneshot;
use tower::Service;

use super::{
    contents::Job,
    shard::{Shard, ShardState},
};
use crate::sink::{Accepted, Outcome, Rejection, SinkBatch, SinkError, kafka::sink::Shared};

/// One lane's service. It is ready while its shard is.
pub(in crate::sink::kafka) struct LaneToShard {
    shared: Arc<Shared>,
    shard: Shard,
    /// Waiting for the shard; true: it is ready.
    waiting: Option<BoxFuture<'static, bool>>,
}

impl LaneToShard {
    pub(super) fn new(shared: Arc<Shared>, shard: Shard) -> Self {
        Self {
            shared,
            shard,
            waiting: None,
        }
    }
}

impl Service<Arc<SinkBatch>> for LaneToShard {
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        if self.waiting.is_none() && *self.shard.state.borrow() == ShardState::Ready {
            return Poll::Ready(Ok(()));
        }
        let state = &self.shard.state;
        let waiting = self.waiting.get_or_insert_with(|| {
            let mut state = state.clone();
            async move {
                state
                    .wait_for(|state| *state == ShardState::Ready)
                    .await
                    .is_ok()
            }
            .boxed()
        });
        let is_ready = ready!(waiting.poll_unpin(cx));
        self.waiting = None;
        Poll::Ready(if is_ready { Ok(()) } else { Err(closed()) })
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let (shared, shard) = (Arc::clone(&self.shared), self.shard.clone());
        Box::pin(async move {
            let producer = shared.producer()?;
            let topics = batch.records.iter().map(|record| &record.topic);
            let refused = match shared.topics.ensure(&producer, topics).await {
                Ok(refused) => refused,
                Err(error) => {
                    let error = shared.health.because(error);
                    shared.health.troubled(error.to_string());
                    return Ok(Accepted::known(Outcome::Retriable(error)));
                }
            };
            let refused = batch
                .records
                .iter()
                .enumerate()
                .filter_map(|(index, record)| {
                    let refusal = refused.get(&record.topic)?;
                    Some(Rejection {
                        index,
                        reason: Str::new_static(refusal.reason),
                        message: refusal.message.as_str().into(),
                    })
                });
            let refused = refused.collect();
            let place = Arc::clone(&shard.places).acquire_owned().await;
            let _place = place.map_err(|_| closed())?;
            let _room = shared.room.take(batch.records.iter()).await;
            let (reply, outcome) = oneshot::channel();
            let job = Job {
                batch,
                refused,
                reply,
                _room,
                _place,
            };
            // There is a place for it; it is refused only when the shard has ended.
            shard.inbox.try_send(Some(job)).map_err(|_| closed())?;
            Ok(Accepted::reply(outcome))
        })
    }
}

fn closed() -> SinkError {
    SinkError::new("the sink is closed")
}
