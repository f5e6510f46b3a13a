//! What has become durable on a lane.

use tokio::sync::watch;

use super::LaneError;
use crate::Position;

/// The durable prefix of a lane. Everything in it is delivered *and* in the stored checkpoint.
#[derive(Debug, Clone, Default)]
pub struct ProgressState {
    /// Deliveries up to and including this number are durable; 0 before the first.
    pub durable: u64,
    /// The newest position in the stored checkpoint.
    pub position: Option<Position>,
}

/// Follows a lane's durable prefix.
#[derive(Debug, Clone)]
pub struct Progress(watch::Receiver<ProgressState>);

impl Progress {
    /// Follows `state`; dropping the sender closes the lane.
    #[must_use]
    pub fn new(state: watch::Receiver<ProgressState>) -> Self {
        Self(state)
    }

    /// The state now.
    #[must_use]
    pub fn now(&self) -> ProgressState {
        self.0.borrow().clone()
    }

    /// Waits for the next change after the last state that this handle saw. Cancel safe.
    ///
    /// # Errors
    /// [`LaneError::Closed`] when nothing will change any more.
    pub async fn changed(&mut self) -> Result<ProgressState, LaneError> {
        self.0.changed().await.map_err(|_| LaneError::Closed)?;
        Ok(self.0.borrow_and_update().clone())
    }

    /// Waits until `number` is durable. Cancel safe.
    ///
    /// # Errors
    /// [`LaneError::Closed`] when the lane closed before.
    pub async fn reached(&mut self, number: u64) -> Result<(), LaneError> {
        self.0
            .wait_for(|state| state.durable >= number)
            .await
            .map_err(|_| LaneError::Closed)?;
        Ok(())
    }
}
