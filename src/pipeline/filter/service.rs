//! Drops what does not match.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use headgate_sdk::Envelope;
use tower::Service;

use super::Equals;
use crate::pipeline::PipelineBatch;

/// Passes matching events on. Works on the batch in the call itself: it adds no future of its own.
#[derive(Debug)]
pub struct Filter<S> {
    inner: S,
    equals: Arc<Equals>,
    dropped: metrics::Counter,
}

impl<S> Filter<S> {
    pub(super) fn new(inner: S, equals: Arc<Equals>, step: &str) -> Self {
        let dropped =
            metrics::counter!("headgate_pipeline_filtered_events_total", "step" => step.to_owned());
        Self {
            inner,
            equals,
            dropped,
        }
    }
}

impl<S: Service<PipelineBatch>> Service<PipelineBatch> for Filter<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut batch: PipelineBatch) -> S::Future {
        let dropped = batch.retain(|event| matches(&self.equals, event));
        if dropped > 0 {
            self.dropped.increment(dropped as u64);
        }
        self.inner.call(batch)
    }
}

fn matches(equals: &Equals, event: &Envelope) -> bool {
    equals
        .iter()
        .all(|(name, values)| match event.attribute_text(name) {
            Some(value) => values.iter().any(|wanted| *wanted == *value),
            None => false,
        })
}
