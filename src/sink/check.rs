//! Asks sinks whether they could take events, without giving them any.

use super::{Kind, SinkError, kafka};
use crate::config;

/// Asks the servers of a sink. `None`: it has none. Opens nothing in `data_dir`, so that it also works beside a running gateway.
///
/// # Errors
/// [`SinkError`] that says what to mend.
pub async fn check(sink: &config::Sink) -> Option<Result<(), SinkError>> {
    match &sink.kind {
        Kind::Kafka(config) => Some(kafka::reach(sink.name.clone(), config.as_ref().clone()).await),
        Kind::Log(_) | Kind::Stdout(_) => None,
    }
}
