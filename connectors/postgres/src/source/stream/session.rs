//! One session of streaming.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use headgate_sdk::{Lane, SourceContext, Str, status::Status};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    super::{End, feedback::Feedback, open::Opened, schema::Versions, watch::Watch},
    batches::{Urgency, leaving},
    frames::Step,
    link::Link,
};
use crate::{
    config::{Checked, Origin, group_prefix},
    control::{Client, Published},
    event::{Publisher, Settings},
    pgoutput::Decoder,
    snapshot::{Chunk, Export, KNOWN_PREFIX, PREFIX, Progress, Readers, ReadersSettings},
    spool::Spool,
    types::{Kind, Rendering},
};

/// The longest that closing the connection may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Transactions under way are handed over when the server needs this much memory for them. Its default of 64 MB is some 300,000
/// rows, nothing of which would be here before they commit.
const STREAMED_FROM_KILOBYTES: u32 = 4096;

/// See the [module](self).
pub(crate) struct Stream {
    pub(super) checked: Arc<Checked>,
    pub(super) lane: Lane,
    pub(super) status: Status,
    pub(super) shutdown: CancellationToken,
    pub(super) version: u32,
    /// Whether text may be anything.
    pub(super) raw: bool,
    pub(super) link: Link,
    pub(super) decoder: Decoder,
    pub(super) publisher: Publisher,
    pub(super) spool: Spool,
    /// The streamed transaction whose block is being received.
    pub(super) block: u32,
    pub(super) catalog: Client,
    pub(super) kinds: HashMap<u32, Kind>,
    pub(super) versions: Versions,
    pub(super) generation: u64,
    pub(super) readers: Readers,
    /// Tables that are being read, by their entry's key.
    pub(super) reading: BTreeMap<String, Progress>,
    /// Published tables that need no reading.
    pub(super) known: BTreeMap<String, ()>,
    pub(super) chunks: HashMap<u64, Chunk>,
    pub(super) export: Option<Export>,
    pub(super) discovered: mpsc::Receiver<Vec<Published>>,
    /// The server shuts down, and was kept waiting long enough.
    pub(super) leaving: CancellationToken,
    pub(super) _watch: AbortOnDropHandle<()>,
    pub(super) last_sent: u64,
    /// When an idle position was stored last.
    pub(super) idle_since: Instant,
    pub(super) session: String,
    pub(super) labels: [(&'static str, String); 1],
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
            mut connection,
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
        let streaming = streaming && facts.version >= 140_000;
        if streaming {
            connection.stream_from(STREAMED_FROM_KILOBYTES).await?;
        }
        let options = plugin_options(checked, facts.version, streaming);
        let stream = connection.start(&checked.slot, from, &options).await?;
        let labels = [("source", cx.source.name.to_string())];
        let lag = metrics::gauge!("headgate_postgres_lag_seconds", &labels);
        let feedback = Feedback::new(lane.progress(), from, facts.wal_sender_timeout, lag);
        let marks = match &checked.primary {
            Some(primary) => Some(primary.clone()),
            None if facts.is_standby => None,
            None => Some(checked.server.clone()),
        };
        let readers = Readers::new(ReadersSettings {
            checked: Arc::clone(checked),
            version: facts.version,
            raw: facts.stores_raw_text(),
            session: session.clone(),
            mark_prefix: mark_prefix.clone(),
            marks,
        });
        let (tables, discovered) = mpsc::channel(1);
        let leaving = CancellationToken::new();
        let watch = Watch {
            checked: Arc::clone(checked),
            source: cx.source.name.clone(),
            group: group_prefix(&cx.source.group),
            status: cx.status.clone(),
            version: facts.version,
            standby: facts.is_standby,
            beat: format!("{session} beat"),
            mark_prefix,
            leaving: leaving.clone(),
            tables,
        };
        let mut this = Self {
            checked: Arc::clone(checked),
            lane,
            status: cx.status.clone(),
            shutdown: cx.shutdown.clone(),
            version: facts.version,
            raw: facts.stores_raw_text(),
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
            leaving,
            _watch: AbortOnDropHandle::new(tokio::spawn(watch.run())),
            last_sent: 0,
            idle_since: Instant::now(),
            session,
            labels,
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
        if self.publisher.between_transactions() || self.publisher.outgoing.is_full() {
            self.flush().await?;
        }
        // In no order: a server that always has more must not keep an operator or a reader waiting.
        tokio::select! {
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
            () = self.lane.revoked() => return Err(End::Shutdown),
            () = self.leaving.cancelled() => return Err(leaving()),
            () = sleep_until(self.link.feedback.due()) => {}
            filled = self.link.stream.fill() => {
                filled?;
                self.link.feedback.heard();
            }
            news = self.readers.next() => self.heed_reader(news).await?,
            Some(tables) = self.discovered.recv() => self.discovered(tables).await?,
            control = cx.control.next() => self.control(control).await?,
        }
        if self.link.feedback.is_due() {
            self.store_idle_position(Urgency::Routine).await?;
            self.link.feedback.send(&mut self.link.stream).await?;
        }
        Ok(())
    }
}

/// A word that no other session has.
fn session_name() -> String {
    let nanos = headgate_sdk::Timestamp::now().as_nanosecond();
    let seed = format!("{nanos}/{}", std::process::id());
    blake3::hash(seed.as_bytes()).to_hex()[..16].to_owned()
}

fn plugin_options(checked: &Checked, version: u32, streaming: bool) -> Vec<(&'static str, String)> {
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
