//! Gives each event its destination.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{HotKeys, RoutedBatch, Router};
use crate::pipeline::{
    PipelineBatch,
    step::{Chain, Passage},
};

/// Sends each event through the steps in front of it and renders its destination, in the call itself: it adds no future of its
/// own.
pub struct Route<S> {
    inner: S,
    steps: Chain,
    router: Router,
    hot_keys: Option<Arc<HotKeys>>,
}

impl<S> Route<S> {
    pub(super) fn new(
        inner: S,
        steps: Chain,
        router: Router,
        hot_keys: Option<Arc<HotKeys>>,
    ) -> Self {
        Self {
            inner,
            steps,
            router,
            hot_keys,
        }
    }
}

impl<S: Service<RoutedBatch>> Service<PipelineBatch> for Route<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, batch: PipelineBatch) -> S::Future {
        let PipelineBatch {
            lane,
            number,
            events,
            rejected,
            checkpoint,
        } = batch;
        let mut records = Vec::with_capacity(events.len());
        let mut passage = Passage::new(&lane, rejected);
        for event in events {
            self.steps.send(event, &mut passage, &mut |event, passage| {
                let lane = passage.lane.id.as_str();
                self.router
                    .route(event, lane, &mut records, &mut passage.rejected);
            });
        }
        let rejected = passage.rejected;
        if let Some(hot_keys) = &self.hot_keys {
            hot_keys.see(&records);
        }
        self.inner.call(RoutedBatch {
            lane,
            number,
            records,
            rejected,
            checkpoint,
        })
    }
}
