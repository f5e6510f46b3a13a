//! Whether a cluster answers, and lets us in.

use std::time::Duration;

use headgate_sdk::{Str, status::State};

use super::{Config, KafkaSink};
use crate::sink::{Sink as _, SinkError};

/// How long the cluster has to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Connects as the sink does, and asks for the list of topics.
///
/// # Errors
/// [`SinkError`] that says what to mend.
pub async fn reach(name: Str, config: Config) -> Result<(), SinkError> {
    let sink = KafkaSink::open(name, config)?;
    let answer = async {
        loop {
            match sink.status().get() {
                State::Ready => return Ok(()),
                State::Waiting(reason) => return Err(SinkError::new(reason)),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    sink.close().await;
    answer.unwrap_or_else(|_| {
        Err(SinkError::new(format!(
            "the cluster did not answer within {PATIENCE:?}; check `brokers`, and that the cluster runs"
        )))
    })
}
