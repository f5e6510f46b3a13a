//! Dead letter: what a sink refuses for good is kept elsewhere, and then counts as durable.

mod layer;
mod service;

pub use layer::DeadLetterLayer;
pub use service::DeadLetters;

use futures::future::BoxFuture;
use headgate_sdk::DeadLetter;

/// Keeps dead letters. The store in `data_dir` is one; tests script others.
pub trait DeadLetterWriter: Send + Sync + 'static {
    /// Resolves when all of them are durable, however long that takes.
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'static, ()>;
}
