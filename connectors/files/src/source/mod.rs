//! The running source: one engine, its jobs, and its lanes.

mod append;
mod bundle;
mod durable;
mod engine;
mod event;
mod figures;
mod folders;
mod index;
mod jobs;
mod judge;
mod lanes;
mod prune;
mod records;
mod sight;
mod tails;

pub use self::figures::{FailedFile, Figures, StateFigure};

use headgate_sdk::{Source, SourceContext, SourceError};

use self::engine::Engine;
use crate::config::Plan;

/// A configured source of type `files`.
#[derive(Debug)]
pub struct FilesSource {
    plan: Plan,
}

impl FilesSource {
    /// A source that follows `plan`.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self { plan }
    }
}

impl Source for FilesSource {
    async fn run(self, cx: SourceContext) -> Result<(), SourceError> {
        let engine = Engine::new(self.plan, &cx)?;
        Box::pin(engine.run(cx)).await
    }
}
