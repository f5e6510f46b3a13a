//! Puts a gateway together.

use std::{path::Path, sync::Arc};

use headgate_sdk::{Str, http::Mounts, status::Status};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Gateway, StartError,
    handle::{Inner, RunningSource},
};
use crate::{
    claim_check,
    config::{self, Config},
    dead_letters::DeadLetterStore,
    http::{Listener, Tls},
    journal::{self, Journal},
    pipeline::{
        LayerStates,
        breaker::Breaker,
        dead_letter::DeadLetterWriter,
        route::SinkSet,
        share::{Priority, Share},
        stack::{self, PipelinePlan, SinkPlan, StackContext},
    },
    runtime::{Checkpoints, DataDir, lane::LaneFactory, source::Supervisor},
    segment::RealFiles,
    sink::{
        self, Sink,
        buffer::{self, Buffered, Pump},
        log::{self, EmbeddedLog},
    },
    trace::Ledger,
};

/// Bytes that a sink which nobody waits for may hold.
const OPTIONAL_SINK_QUEUE_BYTES: usize = 64 << 20;

/// Bytes that may be under way to a sink before lanes wait for each other.
const SHARED_BYTES: usize = 64 << 20;

impl Gateway {
    /// Starts a gateway. On return it listens and its sources are starting.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (gateway, listener) = Self::assemble(config.clone(), true).await?;
        let inner = &gateway.inner;
        gateway.expect_paths(&config);
        if let Some(listener) = listener {
            let serving = listener.serve(
                Arc::clone(&inner.router),
                inner.stop.clone(),
                inner.abandon.clone(),
            );
            *inner.listening.lock() = Some(tokio::spawn(serving));
        }
        for source in &config.sources {
            gateway.start_source(&config, source);
        }
        gateway.resume_aside();
        gateway.bury_removed_sources();
        gateway.publish_dead_letters();
        gateway.show_replay_age();
        Ok(gateway)
    }

    /// Puts a gateway together that takes nothing in: it neither listens nor runs sources. For what is done again with what it has, while
    /// no gateway runs.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start_aside(config: Config) -> Result<Self, StartError> {
        let (gateway, _) = Self::assemble(config, false).await?;
        gateway.resume_aside();
        Ok(gateway)
    }

    /// Everything but sources, in order; with a bound port if it takes something in.
    async fn assemble(
        config: Config,
        takes_in: bool,
    ) -> Result<(Self, Option<Listener>), StartError> {
        if config.sinks.len() > SinkSet::MAX {
            return Err(StartError::TooManySinks(config.sinks.len()));
        }
        let data_dir = DataDir::open(&config.globals.data_dir, config.globals.shards)?;
        let checkpoints = Checkpoints::open(&data_dir.checkpoints())?;
        let journal = open_journal(&data_dir, config.globals.limits.journal.bytes())?;
        let blobs = claim_check::open(&config.globals.claim_check, &data_dir.blobs()).await?;
        let dead_letters = open_dead_letters(
            &data_dir.dead_letters(),
            config.globals.limits.dead_letters.bytes(),
        )?;
        let letters: Arc<dyn DeadLetterWriter> = Arc::new(dead_letters.clone());
        let OpenedSinks {
            plans: sinks,
            buffered,
        } = open_sinks(&config, &data_dir, &checkpoints, &letters).await?;

        let tasks = TaskTracker::new();
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let stack = StackContext {
            sinks: sinks.into(),
            dead_letters: letters,
            states: LayerStates::stored_in(checkpoints.clone()),
            tasks: tasks.clone(),
            abandon: abandon.clone(),
        };
        let ledger = start_ledger(&config, &data_dir, &stack, &stop)?;
        start_pumps(buffered, &data_dir, &checkpoints, &stack, &stop)?;
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
        let http = &config.globals.http;
        let mut listener = None;
        if takes_in {
            let tls = http.tls.clone().map(Tls::load).transpose()?;
            listener = Some(Listener::bind(http.listen).await?.with_tls(tls));
        }
        let address = listener.as_ref().map_or(http.listen, Listener::address);
        let gateway = Self {
            inner: Arc::new(Inner {
                checkpoints,
                journal,
                lanes,
                stack,
                dead_letters,
                ledger,
                retrying: tokio::sync::Mutex::default(),
                replaying: tokio::sync::Mutex::default(),
                is_aside: !takes_in,
                blobs,
                router: Arc::default(),
                address,
                config: Mutex::new(config),
                sources: Mutex::default(),
                reloading: tokio::sync::Mutex::default(),
                stop,
                abandon,
                tasks,
                listening: Mutex::default(),
                data_dir,
            }),
        };
        Ok((gateway, listener))
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
        let broken = watch::Sender::new(Str::default());
        let supervisor = Supervisor {
            connector: source.connector,
            info: config.source_info(source, &inner.data_dir.identity().instance),
            keys: source.keys.clone(),
            lanes: inner.lanes.for_source(
                source.name.clone(),
                plan.subscribe(),
                paused.subscribe(),
                stop.clone(),
                broken.clone(),
            ),
            broken,
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
    Arc::new(PipelinePlan::new(name, steps).with_priority(source.common.priority))
}

fn open_journal(data_dir: &DataDir, max_bytes: u64) -> Result<Journal, StartError> {
    let config = journal::Config {
        max_bytes,
        ..journal::Config::default()
    };
    let (journal, report) = Journal::open(&data_dir.journal(), config, RealFiles)?;
    for corruption in &report.corruptions {
        tracing::error!(
            ?corruption,
            "the journal is damaged: the part was set aside, everything else goes on"
        );
    }
    Ok(journal)
}

fn open_dead_letters(folder: &Path, max_bytes: u64) -> Result<DeadLetterStore, StartError> {
    DeadLetterStore::open(folder, max_bytes).map_err(|error| StartError::Store {
        folder: folder.to_owned(),
        message: error.to_string(),
    })
}

/// All sinks, opened.
struct OpenedSinks {
    plans: Vec<SinkPlan>,
    buffered: Vec<BufferedSink>,
}

/// A sink behind a buffer, and the buffer.
struct BufferedSink {
    plan: SinkPlan,
    log: Arc<EmbeddedLog>,
}

/// Opens all sinks and brings the checkpoint index up to what they hold.
async fn open_sinks(
    config: &Config,
    data_dir: &DataDir,
    checkpoints: &Checkpoints,
    dead_letters: &Arc<dyn DeadLetterWriter>,
) -> Result<OpenedSinks, StartError> {
    let mut opened = OpenedSinks {
        plans: Vec::new(),
        buffered: Vec::new(),
    };
    for configured in &config.sinks {
        let name = &configured.name;
        let failed = |source| StartError::Sink {
            sink: name.to_string(),
            source,
        };
        let opening = sink::open(
            configured,
            &config.globals,
            data_dir,
            checkpoints,
            dead_letters,
        );
        let mut sink = opening.map_err(failed)?;
        let mut plan = sink_plan(configured, sink.clone());
        if configured.common.buffer == sink::config::Buffer::Log {
            let log = open_buffer(&data_dir.buffer(name))?;
            opened.buffered.push(BufferedSink {
                plan: plan.clone(),
                log: Arc::clone(&log),
            });
            sink = Arc::new(Buffered::new(sink, log));
            // The sink's own breaker shows on its status; the one of the log in front of it would hide that.
            let name = format!("{name}/buffer");
            let in_front = Breaker::new(&name, plan.breaker.config().clone(), Status::default());
            plan.behind = Some(std::mem::replace(&mut plan.breaker, Arc::new(in_front)));
            plan.sink = sink.clone();
        }
        sink.recover(checkpoints).await.map_err(failed)?;
        opened.plans.push(plan);
    }
    Ok(opened)
}

fn sink_plan(configured: &config::Sink, sink: Arc<dyn Sink>) -> SinkPlan {
    let common = &configured.common;
    let (retry, status) = (common.retry.clone(), sink.status().clone());
    SinkPlan {
        sink,
        breaker: Arc::new(Breaker::new(&configured.name, retry, status)),
        behind: None,
        timeout: common.timeout.get(),
        required: common.required,
        queue: Arc::new(Semaphore::new(OPTIONAL_SINK_QUEUE_BYTES)),
        share: Share::new(SHARED_BYTES),
    }
}

fn open_buffer(folder: &Path) -> Result<Arc<EmbeddedLog>, StartError> {
    let opened = EmbeddedLog::open(folder, log::Config::default(), RealFiles);
    let (log, _) = opened.map_err(|error| StartError::Store {
        folder: folder.to_owned(),
        message: error.to_string(),
    })?;
    Ok(log)
}

/// Starts noting how batches go.
fn start_ledger(
    config: &Config,
    data_dir: &DataDir,
    stack: &StackContext,
    stop: &CancellationToken,
) -> Result<Ledger, StartError> {
    let folder = data_dir.trace();
    let opened = Ledger::open(&folder, config.globals.trace.clone());
    let (ledger, runs) = opened.map_err(|error| StartError::Store {
        folder,
        message: error.to_string(),
    })?;
    stack.states.trace_in(ledger.clone());
    stack.tasks.spawn(ledger.clone().write(runs, stop.clone()));
    Ok(ledger)
}

/// Starts reading the buffers.
fn start_pumps(
    buffered: Vec<BufferedSink>,
    data_dir: &DataDir,
    checkpoints: &Checkpoints,
    stack: &StackContext,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    for BufferedSink { plan, log } in buffered {
        let name = plan.sink.name().clone();
        let lane = buffer::lane_of(&name);
        let shard = data_dir.identity().shard_of(lane.as_str());
        let plan = SinkPlan {
            required: true,
            ..plan
        };
        let way = stack::outlet(&plan, &lane, shard, Priority::default(), stack).service;
        let pump = Pump::new(&name, &log, way, checkpoints.clone())?;
        stack.tasks.spawn(pump.run(stop.clone()));
    }
    Ok(())
}
