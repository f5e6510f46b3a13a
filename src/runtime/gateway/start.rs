//! Puts a gateway together.

use std::{path::Path, sync::Arc};

use headgate_sdk::{Batch, DeadLetter, LaneId, batch::wire, blobs::FolderStore, http::Mounts};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Gateway, StartError,
    handle::{Inner, RunningSource},
};
use crate::{
    config::{self, Config},
    dead_letters::DeadLetterStore,
    http::{Listener, Router},
    journal::{self, Journal},
    pipeline::{
        LayerStates,
        breaker::Breaker,
        dead_letter::DeadLetterWriter,
        route::SinkSet,
        stack::{PipelinePlan, SinkPlan, StackContext},
    },
    runtime::{Checkpoints, DataDir, lane::LaneFactory, source::Supervisor},
    segment::RealFiles,
    sink::{self, Sink},
};

/// Bytes that a sink which nobody waits for may hold.
const OPTIONAL_SINK_QUEUE_BYTES: usize = 64 << 20;

impl Gateway {
    /// Starts a gateway. On return it listens and its sources are starting.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if config.sinks.len() > SinkSet::MAX {
            return Err(StartError::TooManySinks(config.sinks.len()));
        }
        let data_dir = DataDir::open(&config.globals.data_dir, config.globals.shards)?;
        let checkpoints = Checkpoints::open(&data_dir.checkpoints())?;
        let journal = open_journal(&data_dir)?;
        let blobs = FolderStore::new(data_dir.blobs());
        blobs.prepare().await.map_err(|error| StartError::Store {
            folder: data_dir.blobs(),
            message: error.to_string(),
        })?;
        let dead_letters = Arc::new(open_dead_letters(&data_dir.dead_letters())?);
        let sinks = open_sinks(&config, &data_dir, &checkpoints).await?;

        let tasks = TaskTracker::new();
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let stack = StackContext {
            sinks: sinks.into(),
            dead_letters: dead_letters.clone(),
            states: LayerStates::stored_in(checkpoints.clone()),
            tasks: tasks.clone(),
            abandon: abandon.clone(),
        };
        let lanes = LaneFactory::new(
            data_dir.identity().clone(),
            checkpoints.clone(),
            journal.clone(),
            stack.clone(),
            config.globals.limits.lane_in_flight.as_usize(),
            tasks.clone(),
            stop.clone(),
            abandon.clone(),
        )?;
        lanes.follow_journal().await?;
        bury_removed_sources(&config, &journal, &checkpoints, &*dead_letters).await?;

        let listener = Listener::bind(config.globals.http.listen).await?;
        let router = Arc::new(Router::default());
        let address = listener.address();
        let gateway = Self {
            inner: Arc::new(Inner {
                checkpoints,
                journal,
                lanes,
                stack,
                blobs: Arc::new(blobs),
                router: Arc::clone(&router),
                address,
                config: Mutex::new(config.clone()),
                sources: Mutex::default(),
                reloading: tokio::sync::Mutex::default(),
                stop: stop.clone(),
                abandon: abandon.clone(),
                tasks,
                listening: Mutex::default(),
                data_dir,
            }),
        };
        gateway.expect_paths(&config);
        *gateway.inner.listening.lock() = Some(tokio::spawn(listener.serve(router, stop, abandon)));
        for source in &config.sources {
            gateway.start_source(&config, source);
        }
        Ok(gateway)
    }

    /// Paths that must answer 503 and not 404 until their source is there.
    pub(super) fn expect_paths(&self, config: &Config) {
        let instance = &self.inner.data_dir.identity().instance;
        let paths = config.sources.iter().flat_map(|source| {
            (source.connector.http_paths)(
                source.keys.expose(),
                &config.source_info(source, instance),
            )
        });
        self.inner.router.expect_paths(paths);
    }

    /// Starts one source.
    pub(super) fn start_source(&self, config: &Config, source: &config::Source) {
        let inner = &self.inner;
        let plan = pipeline_plan(config, source);
        let admission = plan.admission(&source.name, &inner.stack);
        let plan = watch::Sender::new(plan);
        let paused = watch::Sender::new(false);
        let stop = inner.stop.child_token();
        let supervisor = Supervisor {
            connector: source.connector,
            info: config.source_info(source, &inner.data_dir.identity().instance),
            keys: source.keys.clone(),
            lanes: inner.lanes.for_source(
                source.name.clone(),
                plan.subscribe(),
                paused.subscribe(),
                stop.clone(),
            ),
            http: Mounts::new(inner.router.clone()),
            admission,
            blobs: Arc::clone(&inner.blobs),
            scratch: inner.data_dir.scratch(&source.name),
            paused,
            stop,
        };
        let (handle, supervise) = supervisor.start();
        let supervisor = tokio::spawn(supervise);
        inner.sources.lock().insert(
            source.name.clone(),
            RunningSource {
                handle,
                plan,
                supervisor,
            },
        );
    }
}

/// The plan of the pipeline that a source names.
pub(super) fn pipeline_plan(config: &Config, source: &config::Source) -> Arc<PipelinePlan> {
    let name = source.common.pipeline();
    let steps = config
        .pipelines
        .get(name)
        .map(Vec::as_slice)
        .unwrap_or_default();
    Arc::new(PipelinePlan::new(name, steps))
}

fn open_journal(data_dir: &DataDir) -> Result<Journal, StartError> {
    let (journal, report) =
        Journal::open(&data_dir.journal(), journal::Config::default(), RealFiles)?;
    for corruption in &report.corruptions {
        tracing::error!(
            ?corruption,
            "the journal is damaged: the part was set aside, everything else goes on"
        );
    }
    Ok(journal)
}

fn open_dead_letters(folder: &Path) -> Result<DeadLetterStore, StartError> {
    DeadLetterStore::open(folder).map_err(|error| StartError::Store {
        folder: folder.to_owned(),
        message: error.to_string(),
    })
}

/// Opens all sinks and brings the checkpoint index up to what they hold.
async fn open_sinks(
    config: &Config,
    data_dir: &DataDir,
    checkpoints: &Checkpoints,
) -> Result<Vec<SinkPlan>, StartError> {
    let mut plans = Vec::with_capacity(config.sinks.len());
    for configured in &config.sinks {
        let failed = |source| StartError::Sink {
            sink: configured.name.to_string(),
            source,
        };
        let sink: Arc<dyn Sink> =
            sink::open(configured, &config.globals, data_dir, checkpoints).map_err(failed)?;
        sink.recover(checkpoints).await.map_err(failed)?;
        let common = &configured.common;
        plans.push(SinkPlan {
            breaker: Arc::new(Breaker::new(
                &configured.name,
                common.retry.clone(),
                sink.status().clone(),
            )),
            sink,
            timeout: common.timeout.get(),
            retry: common.retry.clone(),
            required: common.required,
            queue: Arc::new(Semaphore::new(OPTIONAL_SINK_QUEUE_BYTES)),
        });
    }
    Ok(plans)
}

/// What the journal holds of sources that the configuration no longer has becomes dead letters.
async fn bury_removed_sources(
    config: &Config,
    journal: &Journal,
    checkpoints: &Checkpoints,
    dead_letters: &dyn DeadLetterWriter,
) -> Result<(), StartError> {
    for lane in journal.lanes() {
        let exists = config
            .sources
            .iter()
            .any(|source| source.name == lane.id.source());
        if exists || lane.pending_from.is_none() {
            continue;
        }
        bury(&lane.id, lane.last, journal, checkpoints, dead_letters).await?;
    }
    Ok(())
}

async fn bury(
    lane: &LaneId,
    last: u64,
    journal: &Journal,
    checkpoints: &Checkpoints,
    dead_letters: &dyn DeadLetterWriter,
) -> Result<(), StartError> {
    let stored = checkpoints
        .restored(lane)?
        .and_then(|stored| stored.position?.decode::<u64>().ok());
    let mut reader = journal.reader(lane, stored.map_or(1, |done| done + 1));
    let mut buried = 0;
    while reader.position() <= last {
        let entries = reader.next(1 << 20).await?;
        let Some(up_to) = entries.last().map(|entry| entry.sequence) else {
            break;
        };
        let mut batch = Batch::default();
        for entry in entries {
            if let Err(error) = wire::decode_events_into(entry.payload, &mut batch) {
                tracing::error!(%lane, sequence = entry.sequence, %error, "a record of the journal is left out");
            }
        }
        let message = format!(
            "the source `{}` is no longer configured: configure it again and retry, or discard",
            lane.source()
        );
        let letters = batch
            .events
            .into_iter()
            .map(|event| DeadLetter::new(event, "source", "source removed", message.clone()));
        let letters: Vec<_> = letters.chain(batch.rejected).collect();
        buried += letters.len();
        dead_letters.write(letters).await;
        journal.release(lane, up_to);
    }
    if buried > 0 {
        tracing::warn!(%lane, events = buried, "events of a source that was removed are now dead letters");
    }
    Ok(())
}
