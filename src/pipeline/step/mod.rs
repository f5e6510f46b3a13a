//! Step: what all steps share that look at one event after another.
//!
//! Such a step is an [`EventStep`]; [`StepLayer`] makes a tower layer of it. It works on the batch in the call itself and adds
//! no future of its own, so that its readiness is that of the service behind it.

mod head;
mod layer;
mod service;
mod types;

pub use head::{Head, OnError, Verdict};
pub use layer::StepLayer;
pub use service::StepService;
pub use types::Types;

use super::PipelineBatch;

/// Works on the events of a batch.
pub trait EventStep: Send + Sync + 'static {
    /// Passes on, changes, drops or rejects events. Order stays; what disappears is counted or becomes a dead letter.
    fn apply(&self, batch: &mut PipelineBatch);
}

impl<T: EventStep + ?Sized> EventStep for std::sync::Arc<T> {
    fn apply(&self, batch: &mut PipelineBatch) {
        T::apply(self, batch);
    }
}

#[cfg(test)]
mod tests;
