//! Step: what all steps share that look at one event after another.
//!
//! Such a step is an [`EventStep`]; steps in a row are a [`Chain`], and [`StepLayer`] makes a tower layer of one. It works on the
//! batch in the call itself and adds no future of its own, so that its readiness is that of the service behind it.

mod chain;
mod head;
mod layer;
mod service;
mod types;

pub use chain::{Chain, Passage};
pub use head::{Head, OnError, Verdict};
pub use layer::StepLayer;
pub use service::StepService;
pub use types::Types;

use headgate_sdk::Envelope;

/// Works on one event after another.
pub trait EventStep: Send + Sync + 'static {
    /// Its name, its types and its way with errors.
    fn head(&self) -> &Head;

    /// Changes an event of the step's types in place, or says what else becomes of it. An event on which it fails is as it was.
    fn judge(&self, event: &mut Envelope, passage: &mut Passage<'_>) -> Verdict;
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
