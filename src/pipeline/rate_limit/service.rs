//! Waits, or makes dead letters, inside the stack.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use headgate_sdk::{Envelope, Str};
use tokio::sync::Mutex;
use tower::{Service, ServiceExt};

use super::{Config, Limiter, OnLimit, Per};
use crate::pipeline::{PipelineBatch, PipelineError};

/// Holds a batch back until its events are within the limit.
///
/// It is always ready: the inner service's readiness is awaited in the call, after the wait. Calls are made one after the other,
/// so the lock is never contended.
pub struct RateLimit<S> {
    inner: Arc<Mutex<S>>,
    config: Arc<Config>,
    limiter: Arc<Limiter>,
    step: Str,
    limited: metrics::Counter,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, config: Arc<Config>, limiter: Arc<Limiter>, step: Str) -> Self {
        let limited = metrics::counter!("headgate_pipeline_rate_limited_events_total", "step" => step.to_string());
        Self {
            inner: Arc::new(Mutex::new(inner)),
            config,
            limiter,
            step,
            limited,
        }
    }

    fn key(&self, batch: &PipelineBatch, event: &Envelope) -> Str {
        match self.config.per {
            Per::Tenant => event.tenantid.clone(),
            // Known only at the door, where these limits are asked; pulled events count with their source.
            Per::Source | Per::Client | Per::Header(_) => batch.lane.source.clone(),
        }
    }

    /// How many units to wait for, by key.
    fn due(&self, batch: &PipelineBatch) -> BTreeMap<Str, usize> {
        let mut due = BTreeMap::new();
        let counted = |event: &&Envelope| self.config.types.includes(&event.event_type);
        for event in batch.events.iter().filter(counted) {
            *due.entry(self.key(batch, event)).or_insert(0) += 1;
        }
        due
    }
}

impl<S> Service<PipelineBatch> for RateLimit<S>
where
    S: Service<PipelineBatch, Error = PipelineError> + Send + 'static,
    S::Future: Send,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = PipelineError;
    type Future = BoxFuture<'static, Result<S::Response, PipelineError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PipelineError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut batch: PipelineBatch) -> Self::Future {
        let charged_at_the_door = batch.lane.is_pushed() && self.config.on_limit == OnLimit::Reject;
        let mut due = BTreeMap::new();
        if !charged_at_the_door {
            if self.config.on_limit == OnLimit::DeadLetter {
                let lane = batch.lane.source.clone();
                let (limiter, types) = (&self.limiter, &self.config.types);
                let per_tenant = self.config.per == Per::Tenant;
                let before = batch.rejected.len();
                batch.reject(&self.step, |event| {
                    let key = if per_tenant { &event.tenantid } else { &lane };
                    let over = types.includes(&event.event_type) && limiter.charge(key).is_err();
                    over.then(|| {
                        (
                            "rate_limited".into(),
                            format!("over the limit of {}", limiter.rate()),
                        )
                    })
                });
                self.limited
                    .increment((batch.rejected.len() - before) as u64);
            } else {
                due = self.due(&batch);
            }
        }
        let (inner, limiter) = (Arc::clone(&self.inner), Arc::clone(&self.limiter));
        Box::pin(async move {
            for (key, units) in due {
                limiter.wait(&key, units).await;
            }
            let mut inner = inner.lock_owned().await;
            let call = inner.ready().await?.call(batch);
            drop(inner);
            call.await
        })
    }
}
