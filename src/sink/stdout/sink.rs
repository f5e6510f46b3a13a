//! The sink.

use std::io::{self, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use headgate_sdk::envelope::json::Writer;
use headgate_sdk::status::{State, Status};
use headgate_sdk::{LaneId, Str};
use parking_lot::Mutex;
use tower::Service;
use tower::util::BoxService;

use crate::runtime::Checkpoints;
use crate::sink::{Accepted, Keeps, LaneSink, Outcome, Sent, Sink, SinkBatch, SinkError};

/// Where the lines go.
type Output = Arc<Mutex<dyn Write + Send>>;

/// Writes lines to standard output.
pub struct StdoutSink {
    name: Str,
    output: Output,
    status: Status,
}

impl StdoutSink {
    /// A sink of this name.
    #[must_use]
    pub fn new(name: Str) -> Self {
        Self::writing_to(name, Arc::new(Mutex::new(io::stdout())))
    }

    fn writing_to(name: Str, output: Output) -> Self {
        let status = Status::default();
        status.set(State::Ready);
        Self {
            name,
            output,
            status,
        }
    }
}

impl Sink for StdoutSink {
    fn name(&self) -> &Str {
        &self.name
    }

    fn keeps(&self) -> Keeps {
        Keeps::default()
    }

    fn recover<'a>(
        &'a self,
        _checkpoints: &'a Checkpoints,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn open_lane(&self, _lane: &LaneId, _shard: u32) -> LaneSink {
        BoxService::new(StdoutLane {
            output: self.output.clone(),
            status: self.status.clone(),
            sent: Sent::new(&self.name),
        })
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

struct StdoutLane {
    output: Output,
    status: Status,
    sent: Sent,
}

impl Service<Arc<SinkBatch>> for StdoutLane {
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let mut lines = Vec::new();
        let mut writer = Writer::new();
        for record in &batch.records {
            writer.write(&record.envelope, &mut lines);
            lines.push(b'\n');
        }
        let output = self.output.clone();
        let (sent, status) = (self.sent.clone(), self.status.clone());
        Box::pin(async move {
            // Whoever reads may be slow, so this must not hold a worker thread; it is awaited here to keep order.
            let written = tokio::task::spawn_blocking(move || {
                let mut output = output.lock();
                output.write_all(&lines)?;
                output.flush()
            })
            .await;
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            Ok(Accepted::known(match written {
                Ok(()) => {
                    sent.add(&batch, &[]);
                    Outcome::Durable
                }
                Err(error) => {
                    let message = "standard output cannot be written: is its reader gone?";
                    status.set(State::Failed(message.into()));
                    Outcome::Retriable(SinkError::caused(message, error))
                }
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use headgate_sdk::{Data, Envelope, Timestamp};
    use tower::ServiceExt;

    use super::*;
    use crate::sink::Record;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch() -> Arc<SinkBatch> {
        let record = |id: &str| Record {
            envelope: Envelope::new(
                id,
                "urn:x",
                "a.v1",
                Timestamp::UNIX_EPOCH,
                Data::json("{\"a\":\n1}"),
            ),
            topic: "t".into(),
            key: None,
            headers: Vec::new(),
        };
        Arc::new(SinkBatch {
            lane: LaneId::from_stored("a/"),
            number: 1,
            records: vec![record("1"), record("2")],
            dead_letters: Vec::new(),
            checkpoint: None,
            landed: crate::sink::Notes::default(),
        })
    }

    #[tokio::test]
    async fn writes_one_event_a_line() {
        let output = Arc::new(Mutex::new(Vec::<u8>::new()));
        let sink = StdoutSink::writing_to("out".into(), output.clone());
        let accepted = sink
            .open_lane(&LaneId::from_stored("a/"), 0)
            .oneshot(batch())
            .await
            .unwrap();
        assert!(matches!(accepted.await, Outcome::Durable));
        let text = String::from_utf8(output.lock().clone()).unwrap();
        let ids: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone())
            .collect();
        assert_eq!(ids, ["1", "2"]);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_shows_in_the_status() {
        let sink = StdoutSink::writing_to("out".into(), Arc::new(Mutex::new(Closed)));
        let accepted = sink
            .open_lane(&LaneId::from_stored("a/"), 0)
            .oneshot(batch())
            .await
            .unwrap();
        assert!(matches!(accepted.await, Outcome::Retriable(_)));
        assert!(matches!(sink.status().get(), State::Failed(_)));
    }
}
