//! Builds [`Dedup`]s.

use std::sync::Arc;

use headgate_sdk::Str;
use tower::Layer;

use super::{Config, Dedup, DedupState, DedupStep};
use crate::pipeline::{
    LayerStates,
    step::{Chain, EventStep},
};

/// Wraps a service in a [`Dedup`].
#[derive(Clone)]
pub struct DedupLayer {
    step: Arc<DedupStep>,
    before: Vec<Arc<dyn EventStep>>,
    pub(super) state: Arc<DedupState>,
}

impl DedupLayer {
    /// The dedup of the step `step`, with its state of the name `state` (`{pipeline}/{step}`). State that cannot be read begins
    /// anew: the runtime has read the same file before, so that this is news, and duplicates are better than a stop.
    #[must_use]
    pub fn new(config: &Config, step: impl Into<Str>, states: &LayerStates, state: &str) -> Self {
        let window = config.window.get();
        let mut made = false;
        let state = states.get(
            state,
            |known: &DedupState| known.has_settings(window, config.max_entries),
            || {
                made = true;
                DedupState::open(state, window, config.max_entries, states.store().cloned())
                    .unwrap_or_else(|error| {
                        tracing::error!(step = state, %error, "dedup begins with no keys");
                        DedupState::open(state, window, config.max_entries, None)
                            .expect("nothing is read without a store")
                    })
            },
        );
        if made {
            states.mourn(state.clone());
        }
        Self {
            step: Arc::new(DedupStep::new(config, step, Arc::clone(&state))),
            before: Vec::new(),
            state,
        }
    }

    /// Has each event go through these steps first, one event after the other.
    #[must_use]
    pub fn behind(mut self, before: Vec<Arc<dyn EventStep>>) -> Self {
        self.before = before;
        self
    }

    /// The part that decides.
    #[must_use]
    pub fn step(&self) -> Arc<DedupStep> {
        Arc::clone(&self.step)
    }
}

impl<S> Layer<S> for DedupLayer {
    type Service = Dedup<S>;

    fn layer(&self, inner: S) -> Dedup<S> {
        let mut steps = self.before.clone();
        steps.push(self.step());
        Dedup::new(inner, Chain::new(steps), Arc::clone(&self.state))
    }
}
