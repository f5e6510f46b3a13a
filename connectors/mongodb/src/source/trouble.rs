//! What to do when the stream fails.

use std::time::{Duration, Instant};

use headgate_sdk::{SourceError, Timestamp, status::State};
use mongodb::bson::RawBsonRef;
use tokio::time::timeout;

use super::{DriverError, engine::Engine};
use crate::{
    change::Change,
    config::OnHistoryLost,
    failure::{self, Failure, Phase},
    stream::{ChangeStream, Pace, Start},
};

/// New snapshots for lost history within [`PERIOD`]; the next one is refused.
const MAX_LOST: usize = 2;
const PERIOD: i64 = 3600;
/// Events that are read one by one after a reply was too large.
const SINGLE: u32 = 500;
/// How long the server may take to send the key of an event that is too large.
const PATIENCE: Duration = Duration::from_secs(60);
const NO_KEY: &str = "an event is too large to be sent, and the server did not send its key either";
const FILTERED: &str = "the next event is larger than a reply of the server may be, and which one it is cannot be asked because the source has a `pipeline`: with a server of 6.0.9 or later it comes in parts; else take `pipeline` away until it is passed";
const NO_POSITION: &str = "the first event from `start_at` on is larger than a reply of the server may be: set `start_at` behind it, or use a server of 6.0.9 or later, which sends it in parts";
/// Failures in a row after which the state says so.
const QUIET_FAILURES: u32 = 1;

impl Engine {
    /// The stream failed: mends it, waits, or gives up.
    pub(super) async fn failed(
        &mut self,
        error: DriverError,
        phase: Phase,
    ) -> Result<(), SourceError> {
        self.close();
        let advice = failure::advice(&error, &self.parts.config.scope.text());
        match failure::classify(&error, phase) {
            Failure::Resume => {
                let pause = self.backoff.next();
                tracing::warn!(source = %self.parts.cx.source.name, ?pause, "the stream is opened again: {advice}");
                if self.backoff.failures() > QUIET_FAILURES {
                    self.parts.cx.status.set(State::Waiting(advice));
                }
                metrics::counter!("headgate_mongodb_resumes_total", "source" => self.parts.cx.source.name.to_string()).increment(1);
                self.wait(pause).await;
                Ok(())
            }
            Failure::HistoryLost => self.history_lost(&advice).await,
            Failure::TooLarge if self.single > 0 => self.pass_too_large().await,
            Failure::TooLarge => {
                self.single = SINGLE;
                Ok(())
            }
            Failure::Stop | Failure::NotSupported => Err(SourceError::fatal(advice)),
            Failure::Restart => Err(SourceError::retriable(advice)),
        }
    }

    /// The changes since the position are gone: says so in an event and reads everything again, or stops.
    pub(super) async fn history_lost(&mut self, advice: &str) -> Result<(), SourceError> {
        if self.parts.config.on_history_lost == OnHistoryLost::Stop {
            return Err(SourceError::fatal(format!(
                "{advice}; changes are lost, and only a new snapshot brings consumers up to date: set `on_history_lost: snapshot`, and back to `stop` later if you like"
            )));
        }
        let now = Timestamp::now().as_second();
        self.parts.lost.retain(|at| now - at < PERIOD);
        if self.parts.lost.len() >= MAX_LOST {
            return Err(SourceError::fatal(format!(
                "{advice}; this is the third time within an hour, so there is no new snapshot: make the oplog hold longer than a snapshot takes (`db.adminCommand({{replSetResizeOplog: 1, minRetentionHours: 48}})`), then restart the source"
            )));
        }
        self.parts.lost.push(now);
        let scope = self.parts.config.scope.text();
        if let Some(mut lost) = self.parts.position.take() {
            self.parts.writer.history_lost(&mut lost, advice, &scope);
            // What follows sorts behind it, unless the position was of another deployment's future.
            if i64::from(lost.time.0) <= now {
                self.floor = Some(lost);
            }
        }
        tracing::error!(source = %self.parts.cx.source.name, "{advice}: all collections are read again");
        self.parts.cx.status.warn(
            "history",
            format!(
                "changes were lost at {}, and all collections were read again: {advice}",
                Timestamp::now()
            ),
        );
        self.parts.start = Start::Now;
        self.replan = true;
        self.window = None;
        self.chunk = None;
        self.single = 0;
        Ok(())
    }

    /// The next event is too large for the server to send: reads its key alone, and goes on behind it.
    async fn pass_too_large(&mut self) -> Result<(), SourceError> {
        // Its stages see no documents in a thin stream: they might let another event pass in its place.
        if !self.parts.config.pipeline.is_empty() {
            return Err(SourceError::fatal(FILTERED));
        }
        if self.parts.position.is_none() {
            return Err(SourceError::fatal(NO_POSITION));
        }
        let start = self.start();
        let pace = Pace {
            wait: Duration::from_secs(1),
            single: true,
            thin: true,
        };
        let opened = ChangeStream::open(
            &self.parts.client,
            &self.parts.config,
            &start,
            pace,
            &mut self.abilities,
        );
        let mut stream = match timeout(PATIENCE, Box::pin(opened)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.thin_failed(&error).await,
            Err(_) => return Err(SourceError::retriable(NO_KEY)),
        };
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            let reply = match timeout(PATIENCE, stream.next()).await {
                Ok(Some(Ok(reply))) => reply,
                Ok(Some(Err(error))) => return self.thin_failed(&error).await,
                Ok(None) | Err(_) => break,
            };
            let Ok(events) = reply.events() else { break };
            let Some(Ok(RawBsonRef::Document(event))) = events.into_iter().next() else {
                continue;
            };
            let change =
                Change::read(event).map_err(|error| SourceError::fatal(error.to_string()))?;
            self.take_note(&change).await?;
            if let Some(position) = &mut self.parts.position {
                self.parts.writer.too_large(&change, position);
            }
            self.passed(&change);
            return self.flush().await;
        }
        Err(SourceError::retriable(NO_KEY))
    }

    async fn thin_failed(&mut self, error: &DriverError) -> Result<(), SourceError> {
        let advice = failure::advice(error, &self.parts.config.scope.text());
        match failure::classify(error, Phase::Next) {
            Failure::Resume => {
                let pause = self.backoff.next();
                self.wait(pause).await;
                Ok(())
            }
            Failure::HistoryLost => self.history_lost(&advice).await,
            _ => Err(SourceError::retriable(advice)),
        }
    }
}
