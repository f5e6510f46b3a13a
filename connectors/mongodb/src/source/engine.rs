//! The loop: replies become events, events become batches.
//!
//! State: the open stream, the position after the last event that was written, the batch being filled, and the snapshot's window.
//! Invariants: a position is sent only with or after all events up to it, and never inside a split event; whatever fails, the
//! stream is opened again at the position of the last event that was written, so nothing is left out and nothing comes twice
//! within a run.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use headgate_sdk::{Batch, Entry, Lane, LaneError, SourceContext, SourceError, status::State};
use mongodb::bson::{Document, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};
use tokio::time::timeout;

use super::{DriverClient, DriverError};
use crate::{
    change::{Change, ChangeError, Fragments},
    config::Checked,
    event::EventWriter,
    failure::{Backoff, Phase},
    position::StreamPosition,
    snapshot::{Chunk, Snapshots, Window},
    stream::{Abilities, ChangeStream, Pace, Reply, Start},
};

/// How long the server waits before it answers with nothing.
const IDLE: Duration = Duration::from_secs(1);
/// The same while a snapshot waits for the stream.
const BUSY: Duration = Duration::from_millis(50);
/// `max_silence` doubles each time, up to so many times itself: a server that has much to look through before it answers gets there
/// in the end.
const MOST_PATIENCE: u32 = 16;
/// Seconds that a position may be ahead of the deployment's clock: a member may lag behind, but not by so much.
const AHEAD: u32 = 300;
/// The least time between two batches that carry nothing but a position.
const POSITION_EVERY: Duration = Duration::from_secs(2);

/// What an engine is made of.
pub(super) struct Parts {
    pub(super) cx: SourceContext,
    pub(super) client: DriverClient,
    pub(super) config: Checked,
    pub(super) replica_set: Option<String>,
    pub(super) lane: Lane,
    pub(super) writer: EventWriter,
    pub(super) position: Option<StreamPosition>,
    /// Where to start without a position.
    pub(super) start: Start,
    pub(super) snapshots: Snapshots,
    /// The scope for which snapshots were planned.
    pub(super) planned: Option<String>,
    /// When history was lost, in seconds.
    pub(super) lost: Vec<i64>,
}

/// See the [module](self).
pub(super) struct Engine {
    pub(super) parts: Parts,
    stream: Option<ChangeStream>,
    pub(super) abilities: Abilities,
    pub(super) backoff: Backoff,
    /// Of reading chunks, which fails and succeeds beside the stream.
    pub(super) chunk_backoff: Backoff,
    /// How long the server may say nothing at all before the stream is opened on another connection.
    patience: Duration,
    /// Whether the next reply is the first of its stream.
    is_fresh: bool,
    /// Whether the stored position was compared with the deployment's clock.
    is_clock_checked: bool,
    pub(super) fragments: Fragments,
    /// The token of the last event that was written, if it is newer than the one in the position.
    token: Vec<u8>,
    /// Up to where the answering node had come with the replies before this one.
    reached: Option<Timestamp>,
    /// Events to read one by one, because one of them is too large.
    pub(super) single: u32,
    /// Whether all collections must be read again.
    pub(super) replan: bool,
    /// The position that was lost with history: the next one counts on from it.
    pub(super) floor: Option<StreamPosition>,
    pub(super) window: Option<Window>,
    pub(super) chunk: Option<BoxFuture<'static, Result<Chunk, DriverError>>>,
    /// The delivery that carries the plan: chunks follow once it is durable, so that their ids stay the same.
    pub(super) plan: Option<u64>,
    sent: Option<(Document, Instant)>,
    last_delivery: u64,
    pace: Duration,
}

/// What woke the loop.
enum Woken {
    Reply(Option<Result<Reply, DriverError>>),
    Silence,
    Chunk(Result<Chunk, DriverError>),
    Control(headgate_sdk::control::Control),
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            patience: parts.config.max_silence,
            parts,
            stream: None,
            abilities: Abilities::default(),
            backoff: Backoff::default(),
            chunk_backoff: Backoff::default(),
            is_fresh: true,
            is_clock_checked: false,
            fragments: Fragments::default(),
            token: Vec::new(),
            reached: None,
            single: 0,
            replan: false,
            floor: None,
            window: None,
            chunk: None,
            plan: None,
            sent: None,
            last_delivery: 0,
            pace: IDLE,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), SourceError> {
        let lane = self.parts.lane.clone();
        tokio::select! {
            biased;
            () = lane.revoked() => Ok(()),
            ended = Box::pin(self.work()) => ended,
        }
    }

    async fn work(&mut self) -> Result<(), SourceError> {
        loop {
            self.start_chunk();
            if self.stream.is_some() && self.pace != self.wanted_pace() {
                self.close();
            }
            let Some(stream) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            let chunk = async {
                match &mut self.chunk {
                    Some(chunk) => chunk.await,
                    None => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                control = self.parts.cx.control.next() => Woken::Control(control),
                chunk = chunk => Woken::Chunk(chunk),
                reply = timeout(self.patience, stream.next()) => match reply {
                    Ok(reply) => Woken::Reply(reply),
                    Err(_) => Woken::Silence,
                },
            };
            match woken {
                Woken::Control(control) => self.control(control).await,
                Woken::Chunk(chunk) => {
                    self.chunk = None;
                    self.loaded(chunk).await?;
                }
                Woken::Reply(Some(Ok(reply))) => self.reply(&reply).await?,
                Woken::Reply(Some(Err(error))) => self.failed(error, Phase::Next).await?,
                Woken::Silence => {
                    let error = self.unheard();
                    self.failed(error, Phase::Next).await?;
                }
                // The server closed it: after an invalidate, or because it was asked to.
                Woken::Reply(None) => {
                    self.close();
                    let pause = self.backoff.next();
                    self.wait(pause).await;
                }
            }
        }
    }

    /// Leaves the stream; it is opened again at the position.
    pub(super) fn close(&mut self) {
        self.stream = None;
        self.fragments.clear();
    }

    /// The server said nothing for too long; what a broken connection would have said.
    fn unheard(&mut self) -> DriverError {
        let silence = self.patience;
        self.patience = (silence * 2).min(self.parts.config.max_silence * MOST_PATIENCE);
        DriverError::from(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("the server has not answered for {silence:?}"),
        ))
    }

    fn wanted_pace(&self) -> Duration {
        match self.parts.snapshots.current() {
            Some(_) => BUSY,
            None => IDLE,
        }
    }

    /// Where the stream starts, or goes on.
    pub(super) fn start(&mut self) -> Start {
        self.settle();
        match &self.parts.position {
            Some(position) => Start::After(position.token.clone()),
            None => self.parts.start.clone(),
        }
    }

    async fn open(&mut self) -> Result<(), SourceError> {
        let start = self.start();
        self.pace = self.wanted_pace();
        let pace = Pace {
            wait: self.pace,
            single: self.single > 0,
            thin: false,
        };
        let opened = ChangeStream::open(
            &self.parts.client,
            &self.parts.config,
            &start,
            pace,
            &mut self.abilities,
        );
        match timeout(self.patience, Box::pin(opened)).await {
            Ok(Ok(stream)) => {
                self.stream = Some(stream);
                self.reached = None;
                self.is_fresh = true;
                Ok(())
            }
            Ok(Err(error)) => self.failed(error, Phase::Open).await,
            Err(_) => {
                let error = self.unheard();
                self.failed(error, Phase::Open).await
            }
        }
    }

    /// Takes a reply: its events, its token, and what it says about how far the stream has come.
    async fn reply(&mut self, reply: &Reply) -> Result<(), SourceError> {
        self.parts.writer.stamp();
        let malformed = |error: DriverError| {
            SourceError::retriable(format!("a reply of the server cannot be read: {error}"))
        };
        let events = reply.events().map_err(malformed)?;
        let mut is_empty = true;
        // A stream that opens and then fails gets nowhere: only events, or a second reply, say that all is well again.
        if !self.is_fresh || !events.is_empty() {
            self.backoff.reset();
            self.patience = self.parts.config.max_silence;
        }
        if self.backoff.failures() == 0 {
            self.parts.cx.status.set(State::Ready);
        }
        self.is_fresh = false;
        if let Some(advice) = self.is_ahead(reply.operation_time()) {
            self.close();
            return self.history_lost(&advice).await;
        }
        self.begin(reply).await?;
        for event in events {
            is_empty = false;
            match event {
                Ok(RawBsonRef::Document(event)) => self.event(event).await?,
                _ => {
                    return Err(SourceError::retriable(
                        "a reply of the server holds something that is no event",
                    ));
                }
            }
        }
        if !self.fragments.is_pending()
            && let Some(token) = reply.token()
        {
            self.token.clear();
            self.token.extend_from_slice(token.as_bytes());
        }
        self.flush_if_due().await?;
        if is_empty
            && self
                .reached
                .is_some_and(|reached| self.window_is_passed(reached, reply.token()))
        {
            self.finish_window().await?;
        }
        self.reached = self.reached.max(reply.operation_time());
        let lag = match (is_empty, &self.parts.position) {
            (false, Some(position)) => {
                (headgate_sdk::Timestamp::now().as_second() - i64::from(position.time.0)).max(0)
            }
            _ => 0,
        };
        #[expect(clippy::cast_precision_loss, reason = "a lag in seconds")]
        metrics::gauge!("headgate_mongodb_lag_seconds", "source" => self.parts.cx.source.name.to_string()).set(lag as f64);
        Ok(())
    }

    /// Compares the stored position with the deployment's clock, once. A position of the future is of another deployment, or of this
    /// one before a backup was restored; the server would wait for that time without a word.
    fn is_ahead(&mut self, now: Option<Timestamp>) -> Option<String> {
        if std::mem::replace(&mut self.is_clock_checked, true) {
            return None;
        }
        let (at, now) = (self.parts.position.as_ref()?.time.0, now?.time);
        (at > now.saturating_add(AHEAD)).then(|| {
            format!(
                "{}: the position is {} s ahead of the deployment's clock: it is of another deployment, or a backup was restored",
                self.parts.config.scope.text(),
                at - now
            )
        })
    }

    /// The first reply of the first stream says where it began: that is the first position, and snapshots are planned from it.
    async fn begin(&mut self, reply: &Reply) -> Result<(), SourceError> {
        if self.parts.position.is_none() {
            match (
                reply.token().map(Document::try_from),
                reply.operation_time(),
            ) {
                (Some(Ok(token)), _) if reply.events().is_ok_and(|events| events.is_empty()) => {
                    self.parts.position = Some(self.position_at(token));
                }
                // Events came at once: the position follows with the first of them.
                (_, Some(_)) if reply.events().is_ok_and(|events| !events.is_empty()) => {
                    self.parts.position = Some(self.position_at(Document::new()));
                }
                // A server without such tokens (before 4.0.7): until the first event comes, the time is the position.
                (_, Some(at)) => {
                    if self.parts.start == Start::Now {
                        self.parts.start = Start::At(at);
                    }
                    return Ok(());
                }
                _ => {
                    return Err(SourceError::retriable(
                        "the server says neither a token nor a time: is it a member of a replica set?",
                    ));
                }
            }
        }
        self.plan_snapshots().await
    }

    fn position_at(&mut self, token: Document) -> StreamPosition {
        let mut position = StreamPosition::new(token, self.parts.replica_set.clone());
        if let Some(lost) = self.floor.take() {
            (position.time, position.ordinal) = (lost.time, lost.ordinal);
            position.beside = lost.beside;
        }
        position
    }

    async fn event(&mut self, event: &RawDocument) -> Result<(), SourceError> {
        let understood = |error: ChangeError| match error {
            ChangeError::NoToken | ChangeError::NoOperation => {
                SourceError::fatal(error.to_string())
            }
            ChangeError::Fragment { .. } | ChangeError::Malformed(_) => {
                SourceError::retriable(error.to_string())
            }
        };
        let change = Change::read(event).map_err(understood)?;
        // Most events are whole, and some servers say so.
        let split = match change.split {
            None if !self.fragments.is_pending() => return self.apply(&change).await,
            Some((_, 1)) if !self.fragments.is_pending() => return self.apply(&change).await,
            split => split.unwrap_or((1, 1)),
        };
        match self.fragments.add(event, split).map_err(understood)? {
            Some(whole) => {
                let change = Change::read(&whole).map_err(understood)?;
                self.apply(&change).await
            }
            None => Ok(()),
        }
    }

    async fn apply(&mut self, change: &Change<'_>) -> Result<(), SourceError> {
        if change.operation.is_empty() {
            return Err(SourceError::fatal(ChangeError::NoOperation.to_string()));
        }
        let beyond = self
            .window
            .as_ref()
            .and_then(Window::high)
            .zip(change.cluster_time);
        if beyond.is_some_and(|(high, at)| at > high) {
            self.finish_window().await?;
        }
        self.take_note(change).await?;
        if let Some(position) = &mut self.parts.position {
            self.parts.writer.change(change, position);
        }
        self.passed(change);
        if self.parts.writer.outgoing.is_full() {
            self.flush().await?;
        }
        Ok(())
    }

    /// The stream is past this event.
    pub(super) fn passed(&mut self, change: &Change<'_>) {
        if let Some(token) = change.token {
            self.token.clear();
            self.token.extend_from_slice(token.as_bytes());
        }
        if self.single > 0 {
            self.single -= 1;
            if self.single == 0 {
                self.close();
            }
        }
    }

    /// Brings the position up to the last token.
    fn settle(&mut self) {
        if self.token.is_empty() {
            return;
        }
        let token = RawDocumentBuf::from_bytes(std::mem::take(&mut self.token)).ok();
        if let (Some(position), Some(Ok(token))) = (
            &mut self.parts.position,
            token.map(|t| Document::try_from(&*t)),
        ) {
            position.token = token;
        }
    }

    /// Sends what is written, or only the position if that is news and the last one is a while ago.
    async fn flush_if_due(&mut self) -> Result<(), SourceError> {
        if !self.parts.writer.outgoing.is_empty() {
            return self.flush().await;
        }
        self.settle();
        let Some(position) = &self.parts.position else {
            return Ok(());
        };
        let is_due = match &self.sent {
            Some((token, at)) => *token != position.token && at.elapsed() >= POSITION_EVERY,
            None => true,
        };
        if is_due { self.flush().await } else { Ok(()) }
    }

    /// Sends what is written with the position after it.
    pub(super) async fn flush(&mut self) -> Result<(), SourceError> {
        self.settle();
        let position = self
            .parts
            .position
            .as_ref()
            .filter(|position| !position.token.is_empty());
        if let Some(position) = position {
            self.sent = Some((position.token.clone(), Instant::now()));
        }
        let position = position.map(StreamPosition::encode);
        let batch = self.parts.writer.outgoing.take(position);
        self.send(batch).await?;
        Ok(())
    }

    /// Sends a batch once there is room, and answers the operator meanwhile. Returns the delivery's number.
    pub(super) async fn send(&mut self, batch: Batch) -> Result<u64, LaneError> {
        let lane = self.parts.lane.clone();
        let mut reserve = pin!(lane.reserve(batch.weight()));
        let permit = loop {
            tokio::select! {
                permit = &mut reserve => break permit?,
                control = self.parts.cx.control.next() => Box::pin(self.control(control)).await,
            }
        };
        self.last_delivery = permit.send(batch).number();
        Ok(self.last_delivery)
    }

    /// The delivery that was sent last.
    pub(super) fn last_delivery(&self) -> u64 {
        self.last_delivery
    }

    /// Waits, and answers the operator meanwhile.
    pub(super) async fn wait(&mut self, pause: Duration) {
        let mut pause = pin!(tokio::time::sleep(pause));
        loop {
            tokio::select! {
                () = &mut pause => return,
                control = self.parts.cx.control.next() => Box::pin(self.control(control)).await,
            }
        }
    }

    /// Stores an entry with the next batch.
    pub(super) fn store(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.parts.writer.outgoing.entries.push(entry);
        }
    }
}
