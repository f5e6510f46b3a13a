//! The source: sessions with the server, one after the other.

use std::sync::Arc;

use headgate_sdk::{
    BuildError, LaneSpec, Replay, Source, SourceContext, SourceError, SourceInfo, Str,
    status::State,
};

use super::{End, open::open, stream::Stream};
use crate::{
    config::{Checked, Config},
    position::StreamPosition,
};

/// A configured Postgres source.
pub struct PostgresSource {
    checked: Arc<Checked>,
}

impl PostgresSource {
    pub(crate) fn new(config: Config, info: &SourceInfo) -> Result<Self, BuildError> {
        Ok(Self {
            checked: Arc::new(Checked::new(config, info)?),
        })
    }
}

impl Source for PostgresSource {
    async fn run(self, mut cx: SourceContext) -> Result<(), SourceError> {
        let lane = cx
            .lanes
            .open(LaneSpec {
                name: self.checked.slot.clone().into(),
                tenant: cx.source.tenant.clone(),
                class: Str::new_static("default"),
                replay: Replay::FromSource,
            })
            .await?;
        let mut position: Option<StreamPosition> = match lane.restored() {
            Some(position) => Some(position.decode().map_err(|error| SourceError::Fatal {
                message: error.to_string(),
                source: Some(Box::new(error)),
            })?),
            None => None,
        };
        let mut streaming = self.checked.config.streaming;
        let mut lost = None;
        loop {
            let shutdown = cx.shutdown.clone();
            let opened = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = lane.revoked() => return Ok(()),
                opened = Box::pin(open(&self.checked, &lane, position.take(), lost.take(), &cx.status)) => opened,
            };
            let end = match opened {
                Ok(opened) => {
                    let stream = Box::pin(Stream::start(
                        &self.checked,
                        &cx,
                        lane.clone(),
                        opened,
                        streaming,
                    ))
                    .await;
                    match stream {
                        Ok(mut stream) => {
                            cx.status.set(State::Ready);
                            let end = Box::pin(stream.run(&mut cx)).await;
                            let last = stream.last_sent();
                            stream.close().await;
                            if matches!(end, End::SpoolFull(_) | End::SlotLost(_)) {
                                // What was sent must be in the checkpoint before its position is taken.
                                let mut progress = lane.progress();
                                tokio::select! {
                                    reached = progress.reached(last) => reached?,
                                    () = shutdown.cancelled() => return Ok(()),
                                }
                            }
                            end
                        }
                        Err(end) => end,
                    }
                }
                Err(end) => end,
            };
            let stored = lane.progress().now().position;
            position = stored
                .as_ref()
                .or(lane.restored())
                .and_then(|position| position.decode().ok());
            match end {
                End::Shutdown => return Ok(()),
                End::Source(error) => return Err(error),
                End::SlotLost(why) => {
                    tracing::warn!(source = %cx.source.name, "{why}");
                    lost = Some(why);
                }
                End::SpoolFull(why) => {
                    cx.status.warn(
                        "spool",
                        format!("{why}: transactions are now received after their commit; raise `max_spool_bytes` and restart the source"),
                    );
                    streaming = false;
                }
            }
        }
    }
}
