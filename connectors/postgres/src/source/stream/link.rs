//! The connection, and what is told on it.

use std::{future::Future, time::Duration};

use headgate_sdk::SourceError;
use tokio::time::{sleep_until, timeout};

use super::super::{End, feedback::Feedback};
use crate::{control::SqlError, replication::ReplicationStream};

/// The longest that a question to the catalogue may take: a lock or a dead connection must not hold the stream for ever.
const CATALOGUE: Duration = Duration::from_secs(60);

/// A stream that is answered while something else is waited for.
pub(super) struct Link {
    pub(super) stream: ReplicationStream,
    pub(super) feedback: Feedback,
}

impl Link {
    /// Waits for `work` and answers the server meanwhile.
    pub(super) async fn tend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    if self.feedback.is_due() {
                        self.feedback.heard();
                        self.feedback.send(&mut self.stream).await?;
                    }
                    return Ok(done);
                }
                () = sleep_until(self.feedback.due()) => {
                    // Whoever does not read cannot hear.
                    self.feedback.heard();
                    self.feedback.send(&mut self.stream).await?;
                }
            }
        }
    }

    /// Asks the catalogue and answers the server meanwhile.
    pub(super) async fn ask<T>(
        &mut self,
        question: impl Future<Output = Result<T, SqlError>>,
    ) -> Result<T, End> {
        match self.tend(timeout(CATALOGUE, question)).await? {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(End::Source(SourceError::retriable(format!(
                "the server has not answered a question about its catalogue for {CATALOGUE:?}: a lock holds it, or the connection is dead"
            )))),
        }
    }
}
