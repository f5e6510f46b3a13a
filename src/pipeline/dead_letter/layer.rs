//! Builds [`DeadLetters`].

use std::sync::Arc;

use headgate_sdk::Str;
use tower::Layer;

use super::{DeadLetterWriter, DeadLetters};
use crate::pipeline::LayerStates;

/// Turns a sink's rejections into dead letters.
#[derive(Clone)]
pub struct DeadLetterLayer {
    writer: Arc<dyn DeadLetterWriter>,
    states: LayerStates,
    step: Str,
}

impl DeadLetterLayer {
    /// Rejections of `sink` go to `writer`, as failed at the step `sink/{name}`; `states` hear of them.
    #[must_use]
    pub fn new(sink: &str, writer: Arc<dyn DeadLetterWriter>, states: LayerStates) -> Self {
        Self {
            writer,
            states,
            step: format!("sink/{sink}").into(),
        }
    }
}

impl<S> Layer<S> for DeadLetterLayer {
    type Service = DeadLetters<S>;

    fn layer(&self, inner: S) -> DeadLetters<S> {
        DeadLetters::new(
            inner,
            Arc::clone(&self.writer),
            self.states.clone(),
            self.step.clone(),
        )
    }
}
