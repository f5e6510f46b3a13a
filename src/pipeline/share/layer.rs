//! Builds [`Shared`]s.

use tower::Layer;

use super::{Priority, Share, Shared};

/// Has a lane's way into a sink ask the sink's share before each batch.
#[derive(Debug, Clone)]
pub struct ShareLayer {
    share: Share,
    priority: Priority,
}

impl ShareLayer {
    /// The layer of a lane of `priority` before a sink's `share`.
    #[must_use]
    pub fn new(share: Share, priority: Priority) -> Self {
        Self { share, priority }
    }
}

impl<S> Layer<S> for ShareLayer {
    type Service = Shared<S>;

    fn layer(&self, inner: S) -> Shared<S> {
        Shared::new(inner, self.share.clone(), self.priority)
    }
}
