//! Acts on the outcome.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use headgate_sdk::{DeadLetter, Str};
use tower::Service;

use super::DeadLetterWriter;
use crate::pipeline::LayerStates;
use crate::sink::{Accepted, Outcome, Rejection, SinkBatch, SinkError};

/// A lane's way into a sink whose outcome is never [`Outcome::Rejected`].
pub struct DeadLetters<S> {
    inner: S,
    writer: Arc<dyn DeadLetterWriter>,
    states: LayerStates,
    step: Str,
}

impl<S> DeadLetters<S> {
    pub(super) fn new(
        inner: S,
        writer: Arc<dyn DeadLetterWriter>,
        states: LayerStates,
        step: Str,
    ) -> Self {
        Self {
            inner,
            writer,
            states,
            step,
        }
    }
}

impl<S> Service<Arc<SinkBatch>> for DeadLetters<S>
where
    S: Service<Arc<SinkBatch>, Response = Accepted, Error = SinkError>,
    S::Future: Send + 'static,
{
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let (writer, states) = (Arc::clone(&self.writer), self.states.clone());
        let step = self.step.clone();
        let call = self.inner.call(Arc::clone(&batch));
        Box::pin(async move {
            let accepted = call.await?;
            Ok(Accepted::future(async move {
                match accepted.await {
                    Outcome::Rejected(rejections) => {
                        let letters = rejections
                            .into_iter()
                            .filter_map(|rejection| letter(&batch, &step, rejection));
                        let letters: Vec<DeadLetter> = letters.collect();
                        states.dead_lettered(&letters);
                        writer.write(letters).await;
                        Outcome::Durable
                    }
                    outcome => outcome,
                }
            }))
        })
    }
}

fn letter(batch: &SinkBatch, step: &Str, rejection: Rejection) -> Option<DeadLetter> {
    let record = batch.records.get(rejection.index)?;
    Some(DeadLetter::new(
        record.envelope.clone(),
        step.clone(),
        rejection.reason,
        rejection.message,
    ))
}
