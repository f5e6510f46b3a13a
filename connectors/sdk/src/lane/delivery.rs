//! What became of one batch.

use std::fmt;

use futures::future::BoxFuture;

use super::{LaneError, Progress};

/// A ticket for a batch that was sent. Dropping it changes nothing: the batch goes on.
pub struct Delivery {
    number: u64,
    accepted: Option<BoxFuture<'static, Result<u64, DeliveryError>>>,
    progress: Progress,
}

impl Delivery {
    /// A delivery that counts as accepted at once (its source can send it again).
    #[must_use]
    pub fn accepted_now(number: u64, progress: Progress) -> Self {
        Self {
            number,
            accepted: None,
            progress,
        }
    }

    /// A delivery whose acceptance follows, with the number it then has. What it stands for happens whether or not the future is
    /// polled.
    #[must_use]
    pub fn accepted_later(
        accepted: BoxFuture<'static, Result<u64, DeliveryError>>,
        progress: Progress,
    ) -> Self {
        Self {
            number: 0,
            accepted: Some(accepted),
            progress,
        }
    }

    /// The delivery's number: [`ProgressState::durable`](super::ProgressState::durable) reaches it when the batch is durable.
    /// Known at once on lanes that can be read again; on journaled lanes, the result of [`accepted`](Self::accepted).
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Waits until the gateway answers for the batch: at once on lanes that can be read again, after the journal's fsync on
    /// journaled ones. Returns the delivery's number. Cancel safe: a batch that was sent goes on.
    ///
    /// # Errors
    /// [`DeliveryError`]: nothing of the batch was kept.
    pub async fn accepted(&mut self) -> Result<u64, DeliveryError> {
        if let Some(accepted) = &mut self.accepted {
            let outcome = accepted.await;
            self.accepted = None;
            self.number = outcome?;
        }
        Ok(self.number)
    }

    /// Waits until every required sink has the batch and the checkpoint is stored. Cancel safe.
    ///
    /// # Errors
    /// [`DeliveryError`]: it is not known to be durable.
    pub async fn durable(mut self) -> Result<(), DeliveryError> {
        let number = self.accepted().await?;
        self.progress
            .reached(number)
            .await
            .map_err(|_: LaneError| DeliveryError::Closed)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Why a batch was not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeliveryError {
    /// The journal has no room: ask the sender to come back.
    #[error(
        "the journal has no room: let sinks catch up, free disk space, or raise `limits.journal`"
    )]
    Full,
    /// The journal cannot promise durability any more and refuses everything until a restart.
    #[error("the journal failed and accepts nothing until a restart: {0}")]
    Failed(String),
    /// The lane was closed or revoked.
    #[error("the lane is closed")]
    Closed,
}
