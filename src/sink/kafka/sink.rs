//! The sink: what all lanes share.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use headgate_sdk::{
    LaneId, Str,
    status::{State, Status},
};
use parking_lot::{Mutex, RwLock};
use rdkafka::ClientConfig;
use tokio_util::sync::CancellationToken;
use tower::util::BoxService;

use super::{
    Config, client,
    health::Health,
    letters::LetterTopic,
    producer::{Producer, Room},
    reader::TopicReader,
    service::LaneToKafka,
    tls,
    topics::Topics,
    transaction::{Member, Shards},
};
use crate::{
    runtime::Checkpoints,
    sink::{Keeps, LaneSink, Sink, SinkError},
};

/// How long closing waits for brokers that do not answer.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two questions to a cluster that did not answer the first.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Events go to Kafka.
pub struct KafkaSink {
    name: Str,
    shared: Arc<Shared>,
    reader: TopicReader,
    letters: Option<Arc<LetterTopic>>,
    /// With exactly once.
    shards: Option<Shards>,
    closing: CancellationToken,
}

/// What the lanes share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) topics: Topics,
    pub(super) room: Room,
    pub(super) health: Arc<Health>,
    /// `None` once closed.
    producer: RwLock<Option<Arc<Producer>>>,
    /// Puts each record into a request of its own. Made when a broker first refuses a request for its size.
    solo: Mutex<Option<Arc<Producer>>>,
}

impl KafkaSink {
    /// Makes the sink for events at least once, and begins to look for the cluster. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Settings that librdkafka refuses, or files of certificates that cannot be read. An unreachable cluster is no error: it
    /// shows in the status.
    pub fn open(name: Str, config: Config) -> Result<Self, SinkError> {
        let reader = TopicReader::new(config.clone(), "headgate".into());
        let health = Arc::new(Health::new(name.clone(), Status::default()));
        tls::check(&config)?;
        let producer = make("main", &config, &client::producer(&config), &health)?;
        let shared = Arc::new(Shared {
            topics: Topics::new(config.clone()),
            room: Room::new(config.room()),
            producer: RwLock::new(Some(Arc::new(producer))),
            solo: Mutex::default(),
            health,
            config,
        });
        let closing = CancellationToken::new();
        tokio::spawn(
            closing
                .clone()
                .run_until_cancelled_owned(find_cluster(Arc::clone(&shared))),
        );
        Ok(Self {
            name,
            shared,
            reader,
            letters: None,
            shards: None,
            closing,
        })
    }

    /// As a sink of a gateway of `group`, whose own topics are nobody's events.
    #[must_use]
    pub fn of_group(mut self, group: Str) -> Self {
        let config = &self.shared.config;
        let letters = || Arc::new(LetterTopic::new(Arc::clone(&self.shared), &group));
        self.letters = config.publish_dead_letters.then(letters);
        self.reader = TopicReader::new(config.clone(), group);
        self
    }

    /// Makes the sink for events exactly once. Its shards begin when lanes ask for them. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn transactional(name: Str, config: Config, member: Member) -> Result<Self, SinkError> {
        let mut sink = Self::open(name, config)?.of_group(member.group.clone());
        sink.shards = Some(Shards::new(member, Arc::clone(&sink.shared)));
        Ok(sink)
    }
}

/// Shows as ready once the cluster answers.
async fn find_cluster(shared: Arc<Shared>) {
    while let Ok(producer) = shared.producer() {
        match shared.topics.list(&producer).await {
            Ok(()) => return shared.health.well(),
            Err(error) => {
                let error = shared.health.because(error);
                shared.health.unreachable(error.to_string());
            }
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
}

fn make(
    name: &'static str,
    config: &Config,
    settings: &ClientConfig,
    health: &Arc<Health>,
) -> Result<Producer, SinkError> {
    Producer::new(name, settings, Arc::clone(health)).map_err(|error| tls::unmade(config, error))
}

impl Shared {
    pub(super) fn producer(&self) -> Result<Arc<Producer>, SinkError> {
        self.producer
            .read()
            .clone()
            .ok_or_else(|| SinkError::new("the sink is closed"))
    }

    /// The producer that puts each record into a request of its own.
    pub(super) fn solo(&self) -> Result<Arc<Producer>, SinkError> {
        let mut solo = self.solo.lock();
        if let Some(producer) = solo.as_ref().filter(|producer| !producer.is_fatal()) {
            return Ok(Arc::clone(producer));
        }
        let mut settings = client::producer(&self.config);
        settings.set("batch.num.messages", "1");
        let producer = Arc::new(make("solo", &self.config, &settings, &self.health)?);
        *solo = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// Puts a new producer in the place of one that met a fatal error, unless somebody did already.
    pub(super) fn replace(&self, failed: &Arc<Producer>) {
        let mut current = self.producer.write();
        if !current.as_ref().is_some_and(|now| Arc::ptr_eq(now, failed)) {
            return;
        }
        match make(
            "main",
            &self.config,
            &client::producer(&self.config),
            &self.health,
        ) {
            Ok(producer) => {
                let old = current.replace(Arc::new(producer));
                drop(current);
                tracing::warn!("the Kafka producer met a fatal error and was replaced");
                // Dropping the last handle gives up what it still has, which takes a moment.
                tokio::task::spawn_blocking(move || drop(old));
            }
            Err(error) => {
                drop(current);
                self.health.troubled(error.to_string());
            }
        }
    }
}

impl Sink for KafkaSink {
    fn name(&self) -> &Str {
        &self.name
    }

    fn keeps(&self) -> Keeps {
        Keeps {
            checkpoints: self.shards.is_some(),
            dead_letters: false,
        }
    }

    fn recover<'a>(&'a self, _: &'a Checkpoints) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn prepare<'a>(&'a self, lane: &'a LaneId, shard: u32) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            match &self.shards {
                None => Ok(()),
                Some(shards) => shards.prepare(lane, shard).await,
            }
        })
    }

    fn lost<'a>(&'a self, lane: &'a LaneId, shard: u32) -> BoxFuture<'a, Str> {
        match &self.shards {
            None => Box::pin(std::future::pending()),
            Some(shards) => Box::pin(shards.lost(lane, shard)),
        }
    }

    fn open_lane(&self, lane: &LaneId, shard: u32) -> LaneSink {
        match &self.shards {
            None => BoxService::new(LaneToKafka::new(Arc::clone(&self.shared))),
            Some(shards) => BoxService::new(shards.lane(lane, shard)),
        }
    }

    fn status(&self) -> &Status {
        self.shared.health.status()
    }

    fn dead_letters(&self) -> Option<&Arc<LetterTopic>> {
        self.letters.as_ref()
    }

    fn topics(&self) -> Option<&TopicReader> {
        Some(&self.reader)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.closing.cancel();
            if let Some(shards) = &self.shards {
                shards.close(CLOSE_PATIENCE).await;
            }
            let producer = self.shared.producer.write().take();
            if let Some(producer) = producer {
                let closed = tokio::task::spawn_blocking(move || producer.close(CLOSE_PATIENCE));
                let _runtime_ended = closed.await;
            }
            self.status().set(State::Stopped);
        })
    }
}
