//! Opens the sinks of a configuration.

use std::sync::Arc;

use headgate_sdk::Str;

use super::kafka::{Delivery, KafkaSink, Member};
use super::log::{self, EmbeddedLog, LogSink};
use super::stdout::StdoutSink;
use super::{Kind, Sink, SinkError};
use crate::{
    config,
    pipeline::dead_letter::DeadLetterWriter,
    runtime::{Checkpoints, DataDir},
    segment::RealFiles,
};

/// Opens a configured sink. Does no network I/O; an unreachable sink shows in outcomes.
///
/// # Errors
/// [`SinkError`] if a local resource it needs cannot be had.
pub fn open(
    sink: &config::Sink,
    globals: &config::Globals,
    data_dir: &DataDir,
    checkpoints: &Checkpoints,
    dead_letters: &Arc<dyn DeadLetterWriter>,
) -> Result<Arc<dyn Sink>, SinkError> {
    match &sink.kind {
        Kind::Log(config) => open_log(&sink.name, config, data_dir),
        Kind::Stdout(_) => Ok(Arc::new(StdoutSink::new(sink.name.clone()))),
        Kind::Kafka(config) => {
            let (name, config) = (sink.name.clone(), config.as_ref().clone());
            let sink = match config.delivery {
                Delivery::AtLeastOnce => {
                    KafkaSink::open(name, config)?.of_group(globals.group.clone())
                }
                Delivery::ExactlyOnce => {
                    let member = Member {
                        group: globals.group.clone(),
                        identity: data_dir.identity().clone(),
                        checkpoints: checkpoints.clone(),
                        dead_letters: Arc::clone(dead_letters),
                        lane_in_flight: globals.limits.lane_in_flight.as_usize(),
                    };
                    KafkaSink::transactional(name, config, member)?
                }
            };
            Ok(Arc::new(sink))
        }
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
