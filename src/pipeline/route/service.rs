//! Gives each event its destination.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{HotKeys, RoutedBatch, Router};
use crate::pipeline::PipelineBatch;

/// Renders destinations in the call itself: it adds no future of its own.
pub struct Route<S> {
    inner: S,
    router: Router,
    hot_keys: Option<Arc<HotKeys>>,
}

impl<S> Route<S> {
    pub(super) fn new(inner: S, router: Router, hot_keys: Option<Arc<HotKeys>>) -> Self {
        Self {
            inner,
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
            mut rejected,
            checkpoint,
        } = batch;
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            self.router
                .route(event, lane.id.as_str(), &mut records, &mut rejected);
        }
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
