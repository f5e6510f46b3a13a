//! One session of streaming.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use headgate_sdk::{
    Batch, Entry, Lane, SourceContext, SourceError, Str,
    control::{Control, ControlError},
    status::Status,
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{End, feedback::Feedback, open::Opened, schema::Versions, watch::Watch};
use crate::{
    config::{Checked, Origin, SnapshotMode},
    control::{Client, Published, describe, kinds_of, published},
    event::{Mark, Publisher, Settings, SnapshotRow, Table, Window},
    lsn::Lsn,
    pgoutput::{Decoder, Message, Relation},
    replication::{Frame, ReplicationStream},
    snapshot::{
        Chunk, Export, FromReader, KNOWN_PREFIX, PREFIX, Progress, Readers, ReadersSettings,
        Verdict, known_entry,
    },
    spool::{Record, Spool},
    types::{Kind, Rendering},
};

/// A batch is sent when it has this many events or bytes of data.
const BATCH_EVENTS: usize = 1_000;
const BATCH_BYTES: usize = 256 << 10;
/// The longest that closing the connection may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(crate) struct Stream {
    checked: Arc<Checked>,
    lane: Lane,
    status: Status,
    shutdown: CancellationToken,
    version: u32,
    link: Link,
    decoder: Decoder,
    publisher: Publisher,
    spool: Spool,
    /// The streamed transaction whose block is being received.
    block: u32,
    catalog: Client,
    kinds: HashMap<u32, Kind>,
    versions: Versions,
    generation: u64,
    readers: Readers,
    /// Tables that are being read, by their entry's key.
    reading: BTreeMap<String, Progress>,
    /// Published tables that need no reading.
    known: BTreeMap<String, ()>,
    chunks: HashMap<u64, Chunk>,
    export: Option<Export>,
    discovered: mpsc::Receiver<Vec<Published>>,
    _watch: AbortOnDropHandle<()>,
    last_sent: u64,
    /// When an idle position was stored last.
    idle_since: Instant,
    session: String,
    labels: [(&'static str, String); 1],
}

/// The connection and what is told on it.
struct Link {
    stream: ReplicationStream,
    feedback: Feedback,
}

impl Link {
    /// Waits for `work` and answers the server meanwhile.
    async fn tend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    if self.feedback.is_due() {
                        self.feedback.heard();
                        self.feedback.send(&mut self.stream).await?;
                    }
                    return Ok(done);
                }
                () = sleep_until(self.feedback.due()) => {
                    // Whoever does not read cannot hear.
                    self.feedback.heard();
                    self.feedback.send(&mut self.stream).await?;
                }
            }
        }
    }
}

/// What a frame asks for beyond what was done with it at once.
enum Step {
    Done,
    /// Enough for a batch, or something to look after.
    Flush,
    Keepalive {
        wal_end: Lsn,
        reply: bool,
    },
    Begin {
        xid: u32,
        commit: Lsn,
        time: i64,
    },
    Relation {
        xid: Option<u32>,
        relation: Relation,
    },
    Mark(Mark),
    WriteOut(u32),
    StreamCommit {
        xid: u32,
        commit: Lsn,
        end: Lsn,
        time: i64,
    },
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
}

impl Stream {
    /// Starts streaming from where `opened` says.
    pub(crate) async fn start(
        checked: &Arc<Checked>,
        cx: &SourceContext,
        lane: Lane,
        opened: Opened,
        streaming: bool,
    ) -> Result<Self, End> {
        let Opened {
            facts,
            identity,
            resume,
            connection,
            ahead,
        } = opened;
        let spool = Spool::open(
            cx.scratch.join("spool"),
            checked.config.max_spool_bytes.bytes(),
        )
        .await?;
        let versions = Versions::load(&lane).await?;
        let (mut reading, mut known) = load_snapshots(&lane).await?;
        for entry in &ahead {
            load_snapshot(&entry.key, entry.value.as_deref(), &mut reading, &mut known);
        }
        let session = session_name();
        let mark_prefix = format!("headgate.{}", checked.slot);
        let config = &checked.config;
        let settings = Settings {
            rendering: Rendering {
                bigint: config.bigint,
                numeric: config.numeric,
            },
            events: config.events,
            event_type: config
                .event_type
                .as_deref()
                .map_or(Str::new_static("postgres.row.changed.v1"), Str::new),
            tombstones: config.tombstones,
            transaction_events: config.transaction_events,
            messages: config.messages.clone(),
            local_only: config.origin == Origin::None,
            name: cx.source.name.clone(),
            urn: format!("{}:{}", cx.source.urn, identity.system).into(),
            tenant: cx.source.tenant.clone(),
            database: checked.server.database().to_owned(),
            mark_prefix: mark_prefix.clone(),
            session: session.clone(),
        };
        let from = resume.confirm;
        let publisher = Publisher::new(settings, identity, &resume);
        let options = plugin_options(checked, facts.version, streaming);
        let stream = connection.start(&checked.slot, from, &options).await?;
        let feedback = Feedback::new(lane.progress(), from, facts.wal_sender_timeout);
        let marks = match &checked.primary {
            Some(primary) => Some(primary.clone()),
            None if facts.is_standby => None,
            None => Some(checked.server.clone()),
        };
        let readers = Readers::new(ReadersSettings {
            checked: Arc::clone(checked),
            version: facts.version,
            session: session.clone(),
            mark_prefix: mark_prefix.clone(),
            marks,
        });
        let (tables, discovered) = mpsc::channel(1);
        let watch = Watch {
            checked: Arc::clone(checked),
            source: cx.source.name.clone(),
            status: cx.status.clone(),
            version: facts.version,
            standby: facts.is_standby,
            beat: format!("{session} beat"),
            mark_prefix,
            tables,
        };
        let mut this = Self {
            checked: Arc::clone(checked),
            lane,
            status: cx.status.clone(),
            shutdown: cx.shutdown.clone(),
            version: facts.version,
            link: Link { stream, feedback },
            decoder: Decoder::default(),
            publisher,
            spool,
            block: 0,
            catalog: Client::new(checked.server.clone()),
            kinds: HashMap::new(),
            versions,
            generation: 0,
            readers,
            reading: BTreeMap::new(),
            known,
            chunks: HashMap::new(),
            export: None,
            discovered,
            _watch: AbortOnDropHandle::new(tokio::spawn(watch.run())),
            last_sent: 0,
            idle_since: Instant::now(),
            session,
            labels: [("source", cx.source.name.to_string())],
        };
        for progress in reading.into_values() {
            this.read_table(progress);
        }
        Ok(this)
    }

    /// The number of the last batch.
    pub(crate) fn last_sent(&self) -> u64 {
        self.last_sent
    }

    /// Streams until something ends it.
    pub(crate) async fn run(&mut self, cx: &mut SourceContext) -> End {
        loop {
            if let Err(end) = Box::pin(self.turn(cx)).await {
                return end;
            }
        }
    }

    /// Confirms what is durable, so that a restart sees little again, and frees the slot.
    pub(crate) async fn close(self) {
        let Link {
            mut stream,
            mut feedback,
        } = self.link;
        let goodbye = async {
            // The server finds out by itself if this does not reach it.
            let _told = feedback.send(&mut stream).await;
            stream.close().await;
        };
        let _in_time = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// Handles everything that is here, then waits for more.
    async fn turn(&mut self, cx: &mut SourceContext) -> Result<(), End> {
        loop {
            let step = self.frame()?;
            match step {
                None => break,
                Some(Step::Done) => {}
                Some(step) => Box::pin(self.step(step)).await?,
            }
        }
        if self.publisher.between_transactions() || self.publisher.outgoing.len() >= BATCH_EVENTS {
            self.flush().await?;
        }
        let stored = self.lane.progress();
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
            () = self.lane.revoked() => return Err(End::Shutdown),
            () = sleep_until(self.link.feedback.due()) => {
                self.store_idle_position(&stored).await?;
                self.link.feedback.send(&mut self.link.stream).await?;
            }
            filled = self.link.stream.fill() => {
                filled?;
                self.link.feedback.heard();
            }
            news = self.readers.next() => self.heed_reader(news).await?,
            Some(tables) = self.discovered.recv() => self.discovered(tables).await?,
            control = cx.control.next() => self.control(control).await?,
        }
        if self.link.feedback.is_due() {
            self.link.feedback.send(&mut self.link.stream).await?;
        }
        Ok(())
    }

    /// Takes one frame and does with it what needs no waiting; `None` if there is no whole frame.
    #[inline]
    fn frame(&mut self) -> Result<Option<Step>, End> {
        let Some(frame) = self.link.stream.next()? else {
            return Ok(None);
        };
        let (wal_end, payload) = match frame {
            Frame::Data { wal_end, payload } => (wal_end, payload),
            Frame::Keepalive { wal_end, reply } => {
                return Ok(Some(Step::Keepalive { wal_end, reply }));
            }
        };
        self.link.feedback.received(wal_end);
        if self.decoder.in_stream() {
            if let Some((&tag @ (b'I' | b'U' | b'D' | b'T' | b'M'), rest)) = payload.split_first()
                && let Some((subxid, rest)) = rest.split_first_chunk::<4>()
            {
                let subxid = u32::from_be_bytes(*subxid);
                let due = self.spool.append(self.block, subxid, tag, rest);
                return Ok(Some(if due {
                    Step::WriteOut(self.block)
                } else {
                    Step::Done
                }));
            }
            if let Some((b'O', rest)) = payload.split_first() {
                self.spool.append(self.block, self.block, b'O', rest);
                return Ok(Some(Step::Done));
            }
        }
        Ok(Some(match self.decoder.decode(payload)? {
            Message::Begin { xid, commit, time } if self.export.is_some() => {
                Step::Begin { xid, commit, time }
            }
            Message::Begin { xid, commit, time } => {
                self.publisher.begin(xid, commit, time);
                Step::Done
            }
            Message::Commit { end, .. } => {
                self.publisher.commit(end)?;
                self.step_if_full()
            }
            Message::Relation { xid, relation } => Step::Relation { xid, relation },
            Message::StreamStart { xid, .. } => {
                self.block = xid;
                Step::Done
            }
            Message::StreamCommit {
                xid,
                commit,
                end,
                time,
            } => Step::StreamCommit {
                xid,
                commit,
                end,
                time,
            },
            Message::StreamAbort { xid, subxid } => Step::StreamAbort { xid, subxid },
            Message::BeginPrepare { .. }
            | Message::Prepare { .. }
            | Message::CommitPrepared { .. }
            | Message::RollbackPrepared { .. }
            | Message::StreamPrepare { .. } => {
                return Err(End::Source(SourceError::fatal(format!(
                    "slot {} was created with two_phase, which loses rows in a crash: drop it and run `headgate postgres setup`",
                    self.checked.slot
                ))));
            }
            message => match self.publisher.change(&message)? {
                Some(mark) => Step::Mark(mark),
                None => self.step_if_full(),
            },
        }))
    }

    #[inline]
    fn step_if_full(&self) -> Step {
        let outgoing = &self.publisher.outgoing;
        if outgoing.len() >= BATCH_EVENTS || outgoing.data_bytes() >= BATCH_BYTES {
            Step::Flush
        } else {
            Step::Done
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Done => Ok(()),
            Step::Flush => self.flush().await,
            Step::Keepalive { wal_end, reply } => self.keepalive(wal_end, reply).await,
            Step::Begin { xid, commit, time } => {
                self.export_before(commit).await?;
                self.publisher.begin(xid, commit, time);
                Ok(())
            }
            Step::Relation { xid, relation } => {
                let table = self.describe(relation).await?;
                match xid {
                    // Its transaction may abort, and others must not see it before it commits.
                    Some(_) => self.spool.describe(self.block, table),
                    None => self.learn(table).await?,
                }
                Ok(())
            }
            Step::Mark(mark) => self.mark(mark).await,
            Step::WriteOut(xid) => Ok(self.spool.write_out(xid).await?),
            Step::StreamCommit {
                xid,
                commit,
                end,
                time,
            } => {
                self.export_before(commit).await?;
                self.publish_spooled(xid, commit, end, time).await
            }
            Step::StreamAbort { xid, subxid } => Ok(self.spool.abort(xid, subxid).await?),
        }
    }

    async fn keepalive(&mut self, wal_end: Lsn, reply: bool) -> Result<(), End> {
        self.link.feedback.received(wal_end);
        if self.publisher.between_transactions() {
            self.export_before(wal_end).await?;
            self.publisher.advance(wal_end);
        }
        if reply {
            self.link.feedback.send(&mut self.link.stream).await?;
        }
        Ok(())
    }

    /// Sends what was written so far; answers the server while there is no room.
    async fn flush(&mut self) -> Result<(), End> {
        self.note_moved();
        if self.publisher.outgoing.is_empty() {
            return Ok(());
        }
        let position = self.publisher.position().encode();
        let batch = self.publisher.outgoing.take(Some(position));
        self.send(batch).await
    }

    async fn send(&mut self, batch: Batch) -> Result<(), End> {
        metrics::counter!("headgate_postgres_events_total", &self.labels)
            .increment(batch.events.len() as u64);
        let weight = batch.weight();
        let room = tokio::select! {
            biased;
            room = self.link.tend(self.lane.reserve(weight)) => room?,
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
        };
        self.last_sent = room?.send(batch).number();
        self.publisher.stamp();
        self.idle_since = Instant::now();
        Ok(())
    }

    /// An idle slot moves on: first its position is stored, then it is confirmed.
    async fn store_idle_position(
        &mut self,
        stored: &headgate_sdk::lane::Progress,
    ) -> Result<(), End> {
        let position = self.publisher.position();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        metrics::gauge!("headgate_postgres_spool_bytes", &self.labels)
            .set(self.spool.bytes() as f64);
        let idle = self.publisher.between_transactions()
            && self.publisher.outgoing.is_empty()
            && stored.now().durable >= self.last_sent
            && position.confirm > self.link.feedback.durable()
            && self.idle_since.elapsed() >= self.checked.config.heartbeat.get();
        if !idle {
            return Ok(());
        }
        self.send(Batch {
            position: Some(position.encode()),
            ..Batch::default()
        })
        .await
    }

    /// Publishes a transaction that was received while it ran.
    async fn publish_spooled(
        &mut self,
        xid: u32,
        commit: Lsn,
        end: Lsn,
        time: i64,
    ) -> Result<(), End> {
        let mut reader = self.spool.reader(xid).await?;
        // A description that came later, outside this transaction, stays the valid one.
        let mut newest: HashMap<u32, Arc<Table>> = HashMap::new();
        for table in reader.tables() {
            let id = table.relation.id;
            let current = self.publisher.table(id);
            for candidate in current.iter().chain([table]) {
                let best = newest.entry(id).or_insert_with(|| Arc::clone(candidate));
                if candidate.generation > best.generation {
                    *best = Arc::clone(candidate);
                }
            }
        }
        self.publisher.begin(xid, commit, time);
        let mut decoder = Decoder::default();
        loop {
            let step = match reader.next().await? {
                None => break,
                Some(Record::Table(table)) => {
                    self.learn(table).await?;
                    continue;
                }
                Some(Record::Message(bytes)) => {
                    let message = decoder.decode(bytes)?;
                    match self.publisher.change(&message)? {
                        Some(mark) => Step::Mark(mark),
                        None => self.step_if_full(),
                    }
                }
            };
            match step {
                Step::Flush => self.flush().await?,
                Step::Mark(mark) => self.mark(mark).await?,
                _ => {}
            }
        }
        self.publisher.commit(end)?;
        for table in newest.into_values() {
            self.publisher.learn(table);
        }
        self.spool.remove(xid, reader).await?;
        self.flush().await
    }

    /// Prepares a table's description with what the catalogue knows.
    async fn describe(&mut self, relation: Relation) -> Result<Arc<Table>, End> {
        let Self {
            link,
            catalog,
            kinds,
            ..
        } = self;
        let looked_up = link
            .tend(async {
                let oids = relation.columns.iter().map(|column| column.type_oid);
                kinds_of(catalog, oids, kinds).await?;
                describe(catalog, relation.id).await
            })
            .await?;
        let info = looked_up?;
        let facts = info.map_or_else(
            || crate::event::Facts {
                kinds: self.kinds.clone(),
                ..crate::event::Facts::default()
            },
            |info| info.facts(self.kinds.clone()),
        );
        self.generation += 1;
        let subject = format!("{}.{}", relation.schema, relation.name);
        let captured = self.checked.captures(&subject);
        let outbox = self.checked.config.outbox.as_ref();
        Table::new(self.generation, relation, &facts, captured, outbox)
            .map(Arc::new)
            .map_err(|message| End::Source(SourceError::fatal(message)))
    }

    /// From here on the table is read by this description; a change of its shape is an event.
    async fn learn(&mut self, table: Arc<Table>) -> Result<(), End> {
        self.publisher.learn(Arc::clone(&table));
        if !table.captured || self.publisher.is_skipping() {
            return Ok(());
        }
        let Self {
            link,
            versions,
            catalog,
            ..
        } = self;
        let compared = link.tend(versions.compare(catalog, &table)).await?;
        if let Some((entry, event)) = compared? {
            if let Some(data) = event {
                self.publisher.schema_event(&table, &data);
            }
            self.publisher.outgoing.entries.push(entry);
        }
        Ok(())
    }

    async fn mark(&mut self, mark: Mark) -> Result<(), End> {
        match mark {
            Mark::Low { window, relation } => {
                let low = self.publisher.commit_lsn().unwrap_or_default();
                self.publisher
                    .windows
                    .push(Window::new(window, relation, low));
                Ok(())
            }
            Mark::High { window } => {
                let Some(at) = self
                    .publisher
                    .windows
                    .iter()
                    .position(|open| open.id == window)
                else {
                    return Ok(());
                };
                let window = self.publisher.windows.swap_remove(at);
                while !self.chunks.contains_key(&window.id) {
                    // It was handed over before its mark was written.
                    let news = self.link.tend(self.readers.next()).await?;
                    if let FromReader::Abandoned { window: gone } = &news
                        && *gone == window.id
                    {
                        return Ok(());
                    }
                    self.note_reader(news)?;
                }
                match self.chunks.remove(&window.id) {
                    Some(chunk) => self.send_chunk(chunk, &window).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Sends the rows of a chunk that the stream has not overtaken.
    async fn send_chunk(&mut self, chunk: Chunk, window: &Window) -> Result<(), End> {
        self.note_moved();
        let Some(mut progress) = self.reading.get(&chunk.key).cloned() else {
            return Ok(());
        };
        let stale = chunk
            .in_progress
            .iter()
            .any(|xid| self.publisher.has_passed(*xid, window.low));
        if stale {
            // Whether the reader still listens makes no difference.
            let _heard = chunk.verdict.send(Verdict::Stale);
            return Ok(());
        }
        let at = self.publisher.commit_lsn().unwrap_or(window.low);
        let mut again = Vec::new();
        for i in 0..chunk.rows.len() {
            let row = chunk.rows.get(i);
            if window.truncated {
                break;
            }
            let key = self.publisher.key_text(&chunk.table, row);
            if let Some(key) = &key
                && window.changed.contains(key)
            {
                if window.incomplete.contains(key) {
                    again.extend(chunk.table.key_values(row, None));
                }
                continue;
            }
            let from = SnapshotRow {
                snapshot: &progress.snapshot,
                low: window.low,
                at,
                number: i as u64,
                time: chunk.time,
            };
            self.publisher.snapshot_row(&chunk.table, row, &from);
            progress.rows += 1;
            if matches!(self.step_if_full(), Step::Flush) {
                self.flush().await?;
            }
        }
        self.note_moved();
        if let Some(current) = self.reading.get(&chunk.key) {
            progress.again.clone_from(&current.again);
        }
        if chunk.repeated {
            // What was asked for came, or is gone; what moved meanwhile stays.
            progress.again.retain(|key| !chunk.asked.contains(key));
        }
        progress.again.extend(again);
        if !chunk.repeated {
            progress.finished = chunk.last;
            if chunk.after.is_some() {
                progress.after.clone_from(&chunk.after);
            }
        }
        let again = progress.again.clone();
        self.progressed(progress);
        let _heard = chunk.verdict.send(Verdict::Sent { again });
        self.flush().await
    }

    /// Rows that moved while their table is being read are read again; stored with the event that moved them.
    fn note_moved(&mut self) {
        for progress in self.reading.values_mut() {
            let Some(moved) = self.publisher.moved.get_mut(&progress.oid) else {
                continue;
            };
            if !moved.is_empty() {
                progress.again.extend(moved.iter().cloned());
                self.publisher.outgoing.entries.extend(progress.entries());
            }
        }
        self.publisher.moved.values_mut().for_each(Vec::clear);
    }

    /// Stores how far a table was read, with the rows that were sent of it.
    fn progressed(&mut self, progress: Progress) {
        self.publisher.outgoing.entries.extend(progress.entries());
        if progress.is_done() {
            self.reading.remove(&progress.key());
            if !self.reading.values().any(|other| other.oid == progress.oid) {
                self.publisher.moved.remove(&progress.oid);
            }
            self.known.insert(progress.table.clone(), ());
            self.status.clear(&format!("snapshot/{}", progress.table));
            tracing::info!(
                table = progress.table,
                rows = progress.rows,
                "the table was read"
            );
        } else {
            self.reading.insert(progress.key(), progress);
        }
    }

    fn read_table(&mut self, progress: Progress) {
        if !self.readers.can_read() {
            self.status.warn(
                format!("snapshot/{}", progress.table),
                format!(
                    "table {} is not read: a standby cannot write watermarks; set `primary_url`",
                    progress.table
                ),
            );
        }
        self.publisher.moved.entry(progress.oid).or_default();
        self.readers.read(progress.clone());
        self.reading.insert(progress.key(), progress);
    }

    async fn heed_reader(&mut self, news: FromReader) -> Result<(), End> {
        let export = match &news {
            FromReader::Unreadable {
                key, export: true, ..
            } => self.reading.get(key).cloned(),
            _ => None,
        };
        self.note_reader(news)?;
        if let Some(table) = export {
            self.begin_export(vec![table]).await?;
        }
        Ok(())
    }

    fn note_reader(&mut self, news: FromReader) -> Result<(), End> {
        match news {
            FromReader::Chunk(chunk) => {
                self.status
                    .clear(&format!("snapshot/{}", chunk.table.subject));
                self.chunks.insert(chunk.window, *chunk);
            }
            FromReader::Abandoned { window } => {
                self.publisher.windows.retain(|open| open.id != window);
                self.chunks.remove(&window);
            }
            FromReader::Trouble { table, message } => self.status.warn(
                format!("snapshot/{table}"),
                format!("table {table} cannot be read, and is tried again: {message}"),
            ),
            FromReader::Unreadable {
                key,
                why,
                export: false,
            } => {
                if let Some(progress) = self.reading.remove(&key) {
                    self.publisher.outgoing.entries.push(Entry::remove(key));
                    self.status.warn(
                        format!("snapshot/{}", progress.table),
                        format!("table {} was not read to its end: {why}", progress.table),
                    );
                }
            }
            // An export in the middle of a transaction would come at the wrong place: it is asked for by `heed_reader`, else here.
            FromReader::Unreadable {
                export: true, key, ..
            } => {
                if let Some(progress) = self.reading.get(&key).cloned()
                    && !self.publisher.between_transactions()
                {
                    self.readers.read(progress);
                }
            }
        }
        Ok(())
    }

    /// Makes an exported snapshot for tables without a key. The stream waits until it exists, so that it cannot pass its place.
    async fn begin_export(&mut self, tables: Vec<Progress>) -> Result<(), End> {
        if !self.publisher.between_transactions() {
            return Ok(());
        }
        if let Some(export) = &mut self.export {
            // One at a time: these come back when it is done.
            export.tables.extend(tables);
            return Ok(());
        }
        let name = format!("headgate_export_{}", self.session);
        let begun = Export::begin(&self.checked, &name, tables);
        self.export = Some(self.link.tend(begun).await??);
        Ok(())
    }

    /// Reads the tables of the export if the stream is about to pass its place.
    async fn export_before(&mut self, lsn: Lsn) -> Result<(), End> {
        if self.export.as_ref().is_none_or(|export| lsn < export.at) {
            return Ok(());
        }
        let Some(mut export) = self.export.take() else {
            return Ok(());
        };
        self.flush().await?;
        let at = export.at;
        for mut progress in std::mem::take(&mut export.tables) {
            let opened = self
                .link
                .tend(export.open(&self.checked, self.version, &progress))
                .await?;
            let Some(table) = opened? else {
                self.reading.remove(&progress.key());
                continue;
            };
            let mut number = 0;
            loop {
                let rows = self.link.tend(export.fetch(&table)).await??;
                if rows.len() == 0 {
                    break;
                }
                let time = headgate_sdk::Timestamp::now();
                for i in 0..rows.len() {
                    let from = SnapshotRow {
                        snapshot: &progress.snapshot,
                        low: at,
                        at,
                        number,
                        time,
                    };
                    number += 1;
                    self.publisher.snapshot_row(&table, rows.get(i), &from);
                }
                self.flush().await?;
            }
            progress.rows = number;
            progress.finished = true;
            self.progressed(progress);
            self.flush().await?;
        }
        Ok(())
    }

    /// Compares the publication with what is known; tables that are new are read.
    async fn discovered(&mut self, tables: Vec<Published>) -> Result<(), End> {
        let stamp = headgate_sdk::Timestamp::now().as_second();
        for table in tables {
            let is_reading = self.reading.values().any(|p| p.table == table.subject);
            if is_reading
                || self.known.contains_key(&table.subject)
                || !self.checked.captures(&table.subject)
            {
                continue;
            }
            if self.checked.config.snapshot.mode == SnapshotMode::Initial {
                let name = format!("added-{stamp}");
                let progress = Progress::new(name, &table.subject, table.oid, None);
                self.publisher.outgoing.entries.extend(progress.entries());
                self.read_table(progress);
            } else {
                let entry = known_entry(&table.subject);
                self.publisher.outgoing.entries.push(entry);
                self.known.insert(table.subject, ());
            }
        }
        Ok(())
    }

    async fn control(&mut self, control: Control) -> Result<(), End> {
        let answer = match control.action.as_str() {
            "snapshot" => self.snapshot_on_demand(&control.arguments).await,
            "status" => Ok(self.report()),
            _ => {
                control.unknown();
                return Ok(());
            }
        };
        control.reply(answer);
        self.flush().await
    }

    async fn snapshot_on_demand(&mut self, arguments: &Value) -> Result<Value, ControlError> {
        let wanted = arguments.get("table").and_then(Value::as_str);
        let filter = arguments
            .get("where")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if filter.is_some() && wanted.is_none() {
            return Err(ControlError::Invalid(
                "`where` needs a `table` that it belongs to".into(),
            ));
        }
        if !self.readers.can_read() {
            return Err(ControlError::Failed(
                "a standby cannot write watermarks: set `primary_url`".into(),
            ));
        }
        let tables = published(&mut self.catalog, &self.checked.publication, self.version)
            .await
            .map_err(|error| ControlError::Failed(error.to_string()))?
            .unwrap_or_default();
        let chosen: Vec<Published> = tables
            .into_iter()
            .filter(|table| wanted.is_none_or(|wanted| table.subject == wanted))
            .collect();
        if chosen.is_empty() {
            return Err(ControlError::Invalid(match wanted {
                Some(table) => format!(
                    "`{table}` is not in publication {}: write `schema.table` of one that is",
                    self.checked.publication
                ),
                None => format!("publication {} has no tables", self.checked.publication),
            }));
        }
        if let Some(filter) = &filter
            && let Some(table) = chosen.first()
        {
            let sql = format!(
                "EXPLAIN SELECT FROM {} WHERE ({filter})",
                quoted_subject(&table.subject)
            );
            self.catalog
                .rows(&sql)
                .await
                .map_err(|error| ControlError::Invalid(format!("`where`: {error}")))?;
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "asked-{}-{}",
            headgate_sdk::Timestamp::now().as_millisecond(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let mut names = Vec::new();
        for table in chosen {
            let progress = Progress::new(&name, &table.subject, table.oid, filter.clone());
            self.publisher.outgoing.entries.extend(progress.entries());
            self.read_table(progress);
            names.push(table.subject);
        }
        Ok(json!({ "snapshot": name, "tables": names }))
    }

    fn report(&self) -> Value {
        let position = self.publisher.position();
        let reading: Vec<Value> = self
            .reading
            .values()
            .map(|p| json!({ "snapshot": p.snapshot, "table": p.table, "rows": p.rows }))
            .collect();
        json!({
            "position": position,
            "confirmed": self.link.feedback.durable(),
            "snapshots": reading,
            "spool": { "transactions": self.spool.len(), "bytes": self.spool.bytes() },
        })
    }
}

fn quoted_subject(subject: &str) -> String {
    match subject.split_once('.') {
        Some((schema, name)) => crate::sql::qualified(schema, name),
        None => crate::sql::identifier(subject),
    }
}

/// A word that no other session has.
fn session_name() -> String {
    let nanos = headgate_sdk::Timestamp::now().as_nanosecond();
    let seed = format!("{nanos}/{}", std::process::id());
    blake3::hash(seed.as_bytes()).to_hex()[..16].to_owned()
}

fn plugin_options(checked: &Checked, version: u32, streaming: bool) -> Vec<(&'static str, String)> {
    let streaming = streaming && version >= 140_000;
    let mut options = vec![
        (
            "proto_version",
            if streaming { "2" } else { "1" }.to_owned(),
        ),
        (
            "publication_names",
            crate::sql::identifier(&checked.publication),
        ),
    ];
    if streaming {
        options.push(("streaming", "on".to_owned()));
    }
    if version >= 140_000 {
        options.push(("messages", "true".to_owned()));
    }
    if version >= 160_000 && checked.config.origin == Origin::None {
        options.push(("origin", "none".to_owned()));
    }
    options
}

fn load_snapshot(
    key: &str,
    value: Option<&[u8]>,
    reading: &mut BTreeMap<String, Progress>,
    known: &mut BTreeMap<String, ()>,
) {
    if let Some(table) = key.strip_prefix(KNOWN_PREFIX) {
        known.insert(table.to_owned(), ());
    } else if let Some(progress) = value.and_then(|value| serde_json::from_slice(value).ok()) {
        reading.insert(key.to_owned(), progress);
    }
}

type Snapshots = (BTreeMap<String, Progress>, BTreeMap<String, ()>);

async fn load_snapshots(lane: &Lane) -> Result<Snapshots, End> {
    let (mut reading, mut known) = (BTreeMap::new(), BTreeMap::new());
    for prefix in [PREFIX, KNOWN_PREFIX] {
        let mut after: Option<String> = None;
        loop {
            let page = lane.entries(prefix, after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = Some(last.to_string());
            for (key, value) in &page {
                load_snapshot(key, Some(value), &mut reading, &mut known);
            }
        }
    }
    Ok((reading, known))
}
