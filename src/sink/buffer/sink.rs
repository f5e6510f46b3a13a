//! The lanes' end of a buffer.

use std::sync::Arc;

use futures::future::BoxFuture;
use headgate_sdk::{LaneId, Str, status::Status};

use crate::{
    runtime::Checkpoints,
    sink::{
        Keeps, LaneSink, Sink, SinkError,
        kafka::{LetterTopic, TopicReader},
        log::{EmbeddedLog, LogSink},
    },
};

/// A sink as its lanes see it: the log in front of it.
pub struct Buffered {
    log: LogSink,
    inner: Arc<dyn Sink>,
}

impl Buffered {
    /// `inner` behind `log`.
    #[must_use]
    pub fn new(inner: Arc<dyn Sink>, log: Arc<EmbeddedLog>) -> Self {
        Self {
            log: LogSink::buffer(inner.name().clone(), log),
            inner,
        }
    }
}

impl Sink for Buffered {
    fn name(&self) -> &Str {
        self.inner.name()
    }

    /// Nothing: the pump hands over records alone, and a lane's checkpoint belongs to what the lane waits for.
    fn keeps(&self) -> Keeps {
        Keeps::default()
    }

    fn recover<'a>(&'a self, checkpoints: &'a Checkpoints) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.log.recover(checkpoints).await?;
            self.inner.recover(checkpoints).await
        })
    }

    fn open_lane(&self, lane: &LaneId, shard: u32) -> LaneSink {
        self.log.open_lane(lane, shard)
    }

    fn status(&self) -> &Status {
        self.inner.status()
    }

    fn topics(&self) -> Option<&TopicReader> {
        self.inner.topics()
    }

    fn dead_letters(&self) -> Option<&Arc<LetterTopic>> {
        self.inner.dead_letters()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.log.close().await;
            self.inner.close().await;
        })
    }
}
