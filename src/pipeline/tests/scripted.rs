//! Sinks and a graveyard that do what a script says.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::{BoxFuture, Ready, ready};
use headgate_sdk::{DeadLetter, Envelope, LaneId, Str, status::Status};
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tower::{Service, util::BoxService};

use crate::{
    pipeline::dead_letter::DeadLetterWriter,
    runtime::Checkpoints,
    sink::{Accepted, Keeps, LaneSink, Outcome, Rejection, Sink, SinkBatch, SinkError},
};

/// What a sink does with one batch. After the end of its script it writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Script {
    Write,
    /// Answers that it should be sent again; writes nothing.
    Fail,
    /// Writes all but the record of this index, which it refuses for good.
    Reject(usize),
    /// Answers only after [`ScriptedSink::let_go`].
    Hold,
    /// Writes nothing and ends whoever called, as a bug does.
    Panic,
}

/// A record that was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) id: Str,
    pub(crate) topic: Str,
    pub(crate) envelope: Envelope,
}

/// A batch that the sink was given.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) lane: LaneId,
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

pub(crate) struct ScriptedSink {
    name: Str,
    status: Status,
    max_event_bytes: usize,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    script: Mutex<VecDeque<Script>>,
    written: Mutex<Vec<Written>>,
    held: Mutex<Vec<oneshot::Sender<Outcome>>>,
    /// Until when it fails, and how long it takes for that.
    outage: Mutex<Option<(Instant, std::time::Duration)>>,
    /// One in so many batches fails.
    flaky: Mutex<Option<usize>>,
    calls: Mutex<Vec<Call>>,
    /// The lane whose batches are all held.
    stalled: Mutex<Option<LaneId>>,
    changed: watch::Sender<()>,
}

impl ScriptedSink {
    pub(crate) fn new(name: &'static str, script: impl IntoIterator<Item = Script>) -> Arc<Self> {
        Self::limited(name, usize::MAX, script)
    }

    /// One that can write events of at most so many bytes.
    pub(crate) fn limited(
        name: &'static str,
        max_event_bytes: usize,
        script: impl IntoIterator<Item = Script>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            status: Status::default(),
            max_event_bytes,
            inner: Arc::new(Inner {
                script: Mutex::new(script.into_iter().collect()),
                ..Inner::default()
            }),
        })
    }

    /// Holds every batch of a lane.
    pub(crate) fn stall(&self, lane: &str) {
        *self.inner.stalled.lock() = Some(LaneId::from_stored(lane));
    }

    /// Fails everything for `length` from now on, `late` after it was given.
    pub(crate) fn fail_for(&self, length: std::time::Duration, late: std::time::Duration) {
        *self.inner.outage.lock() = Some((Instant::now() + length, late));
    }

    /// Fails one batch in `every`, by chance.
    pub(crate) fn fail_one_in(&self, every: usize) {
        *self.inner.flaky.lock() = Some(every);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().clone()
    }

    /// Waits until the sink has written so many records.
    pub(crate) async fn wait_for(&self, count: usize) {
        let mut changed = self.inner.changed.subscribe();
        while self.inner.written.lock().len() < count {
            changed.changed().await.unwrap();
        }
    }

    pub(crate) fn written(&self) -> Vec<Written> {
        self.inner.written.lock().clone()
    }

    /// Waits until the sink was given so many batches.
    pub(crate) async fn wait_for_calls(&self, count: usize) {
        while self.inner.calls.lock().len() < count {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Answers the first batch that is held.
    pub(crate) fn let_go_of_one(&self) {
        let held = self.inner.held.lock().remove(0);
        held.send(Outcome::Durable).unwrap();
    }

    /// Answers everything that is held, and holds nothing any more.
    pub(crate) fn let_go(&self) {
        self.inner.script.lock().clear();
        for held in self.inner.held.lock().drain(..) {
            held.send(Outcome::Durable).unwrap();
        }
    }
}

impl Inner {
    fn take(&self, batch: &SinkBatch) -> Accepted {
        self.calls.lock().push(Call {
            lane: batch.lane.clone(),
            number: batch.number,
            at: Instant::now(),
        });
        let failure = || Outcome::Retriable(SinkError::new("scripted"));
        if let Some((until, late)) = *self.outage.lock()
            && Instant::now() < until
        {
            return Accepted::future(async move {
                tokio::time::sleep(late).await;
                failure()
            });
        }
        if let Some(every) = *self.flaky.lock()
            && fastrand::usize(..every) == 0
        {
            return Accepted::known(failure());
        }
        if self.stalled.lock().as_ref() == Some(&batch.lane) {
            let (reply, outcome) = oneshot::channel();
            self.held.lock().push(reply);
            return Accepted::reply(outcome);
        }
        let script = self.script.lock().pop_front().unwrap_or(Script::Write);
        let refused = match script {
            Script::Fail => return Accepted::known(Outcome::Retriable(SinkError::new("scripted"))),
            Script::Panic => panic!("scripted"),
            Script::Reject(index) => Some(index),
            Script::Write | Script::Hold => None,
        };
        for (index, record) in batch.records.iter().enumerate() {
            if Some(index) != refused {
                self.written.lock().push(Written {
                    id: record.envelope.id.clone(),
                    topic: record.topic.clone(),
                    envelope: record.envelope.clone(),
                });
            }
        }
        self.changed.send_replace(());
        match script {
            Script::Hold => {
                let (reply, outcome) = oneshot::channel();
                self.held.lock().push(reply);
                Accepted::reply(outcome)
            }
            Script::Reject(index) => Accepted::known(Outcome::Rejected(vec![Rejection {
                index,
                reason: "scripted".into(),
                message: "scripted".into(),
            }])),
            Script::Write | Script::Fail | Script::Panic => Accepted::known(Outcome::Durable),
        }
    }
}

struct Way(Arc<Inner>);

impl Service<Arc<SinkBatch>> for Way {
    type Response = Accepted;
    type Error = SinkError;
    type Future = Ready<Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        ready(Ok(self.0.take(&batch)))
    }
}

impl Sink for ScriptedSink {
    fn name(&self) -> &Str {
        &self.name
    }

    fn keeps(&self) -> Keeps {
        Keeps::default()
    }

    fn max_event_bytes(&self) -> usize {
        self.max_event_bytes
    }

    fn recover<'a>(&'a self, _: &'a Checkpoints) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn open_lane(&self, _: &LaneId, _: u32) -> LaneSink {
        BoxService::new(Way(Arc::clone(&self.inner)))
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Keeps dead letters in memory.
pub(crate) struct Gone {
    letters: watch::Sender<Vec<DeadLetter>>,
}

impl Gone {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            letters: watch::Sender::new(Vec::new()),
        })
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        self.letters.borrow().clone()
    }

    pub(crate) async fn wait_for(&self, count: usize) {
        self.letters
            .subscribe()
            .wait_for(|letters| letters.len() >= count)
            .await
            .unwrap();
    }
}

impl DeadLetterWriter for Gone {
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'static, ()> {
        self.letters.send_modify(|all| all.extend(letters));
        Box::pin(async {})
    }
}
