//! Opens the sinks of a configuration.

use std::sync::Arc;

use headgate_sdk::Str;

use super::kafka::KafkaSink;
use super::log::{self, EmbeddedLog, LogSink};
use super::stdout::StdoutSink;
use super::{Kind, Sink, SinkError};
use crate::{
    config,
    runtime::{Checkpoints, DataDir},
    segment::RealFiles,
};

/// Opens a configured sink. Does no network I/O; an unreachable sink shows in outcomes.
///
/// # Errors
/// [`SinkError`] if a local resource it needs cannot be had.
pub fn open(
    sink: &config::Sink,
    _globals: &config::Globals,
    data_dir: &DataDir,
    _checkpoints: &Checkpoints,
) -> Result<Arc<dyn Sink>, SinkError> {
    match &sink.kind {
        Kind::Log(config) => open_log(&sink.name, config, data_dir),
        Kind::Stdout(_) => Ok(Arc::new(StdoutSink::new(sink.name.clone()))),
        Kind::Kafka(config) => Ok(Arc::new(KafkaSink::open(
            sink.name.clone(),
            config.as_ref().clone(),
        )?)),
    }
}

/// Each log sink has a folder of its own.
fn open_log(
    name: &Str,
    config: &log::Config,
    data_dir: &DataDir,
) -> Result<Arc<dyn Sink>, SinkError> {
    let folder = data_dir.log().join(name.as_str());
    let (log, report) = EmbeddedLog::open(&folder, config.clone(), RealFiles).map_err(|error| {
        SinkError::caused(
            format!(
                "the embedded log in {} cannot be opened: {error}",
                folder.display()
            ),
            error,
        )
    })?;
    if report.torn_bytes > 0 {
        tracing::info!(sink = %name, bytes = report.torn_bytes, "an incomplete group at the end of the log was dropped");
    }
    Ok(Arc::new(LogSink::new(name.clone(), log)))
}
