//! Which topics exist, and which may be made.
//!
//! A topic is looked for in the list of all topics, because asking for one by name creates it on many clusters. A broker may not have heard yet of one
//! that was made a moment before, so that a list without a topic is not believed at once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use headgate_sdk::{Str, pattern::matches};
use parking_lot::{Mutex, RwLock};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::Producer as _,
    types::RDKafkaErrorCode as Code,
};

use super::{
    Config, client,
    error::{Meaning, explain},
    producer::Producer,
};
use crate::sink::SinkError;

/// How long the cluster may take to list its topics or to make one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pauses before a list is asked for again, when a topic is not in it.
const LOOK_AGAIN: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(900),
];
/// How often that is done: so many times at once, then once in [`DOUBT_EVERY`]. Names made of outside data without end would hold up their lanes else.
const DOUBTS: NonZeroU32 = NonZeroU32::new(16).expect("not zero");
const DOUBT_EVERY: Duration = Duration::from_secs(10);
/// The most missing topics that are remembered.
const MISSING: usize = 1024;

/// The topics seen to exist, shared by all lanes.
pub(super) struct Topics {
    config: Config,
    known: RwLock<HashSet<Str>>,
    /// Topics that were looked for again, and are not there.
    missing: Mutex<HashSet<Str>>,
    doubts: DefaultDirectRateLimiter,
    /// One question at a time; whoever waited for it shares its answer.
    asking: tokio::sync::Mutex<Option<SinkError>>,
    asked: AtomicU64,
}

/// Who can be asked for topics.
pub(super) trait Cluster {
    /// The names of all topics.
    fn topics(&self) -> impl Future<Output = Result<HashSet<Str>, SinkError>> + Send;
}

/// Why no record may go to a topic: a stable word and a sentence.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// It rests on the list of topics, not on what the cluster said about this one.
    is_by_list: bool,
}

impl Topics {
    pub(super) fn new(config: Config) -> Self {
        let quota = Quota::with_period(DOUBT_EVERY).expect("not zero");
        Self {
            config,
            known: RwLock::default(),
            missing: Mutex::default(),
            doubts: RateLimiter::direct(quota.allow_burst(DOUBTS)),
            asking: tokio::sync::Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Makes sure that the topics exist; those that do not and must not be made come back with the reason, after they were looked for again.
    ///
    /// # Errors
    /// When the cluster cannot be asked now.
    pub(super) async fn ensure<'a>(
        &self,
        cluster: &impl Cluster,
        topics: impl Iterator<Item = &'a Str>,
    ) -> Result<HashMap<Str, Refusal>, SinkError> {
        let unknown: BTreeSet<Str> = {
            let known = self.known.read();
            topics
                .filter(|topic| !known.contains(*topic))
                .cloned()
                .collect()
        };
        if unknown.is_empty() {
            return Ok(HashMap::new());
        }
        let mut refused = self.look(cluster, &unknown).await?;
        if !self.is_doubtful(&refused) || self.doubts.check().is_err() {
            return Ok(refused);
        }
        for pause in LOOK_AGAIN {
            tokio::time::sleep(pause).await;
            refused = self.look(cluster, &unknown).await?;
            if !self.is_doubtful(&refused) {
                return Ok(refused);
            }
        }
        let mut missing = self.missing.lock();
        if missing.len() + refused.len() > MISSING {
            missing.clear();
        }
        missing.extend(refused.keys().cloned());
        drop(missing);
        Ok(refused)
    }

    /// Whether one may be there all the same.
    fn is_doubtful(&self, refused: &HashMap<Str, Refusal>) -> bool {
        let missing = self.missing.lock();
        refused
            .iter()
            .any(|(topic, refusal)| refusal.is_by_list && !missing.contains(topic))
    }

    /// Asks once which of the topics exist, and makes what may be made.
    async fn look(
        &self,
        cluster: &impl Cluster,
        topics: &BTreeSet<Str>,
    ) -> Result<HashMap<Str, Refusal>, SinkError> {
        let before = self.asked.load(Ordering::Acquire);
        let mut last = self.asking.lock().await;
        if self.asked.load(Ordering::Acquire) == before {
            *last = self.list(cluster).await.err();
            self.asked.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(error) = &*last {
            return Err(error.clone());
        }
        let mut refused = HashMap::new();
        for topic in topics {
            if self.known.read().contains(topic) {
                continue;
            }
            match self.make(topic).await? {
                None => drop(self.known.write().insert(topic.clone())),
                Some(refusal) => drop(refused.insert(topic.clone(), refusal)),
            }
        }
        Ok(refused)
    }

    /// The topic was not there after all.
    pub(super) fn forget(&self, topic: &str) {
        self.known.write().remove(topic);
    }

    /// Reads the list of all topics.
    pub(super) async fn list(&self, cluster: &impl Cluster) -> Result<(), SinkError> {
        let topics = cluster.topics().await?;
        self.missing.lock().retain(|topic| !topics.contains(topic));
        *self.known.write() = topics;
        Ok(())
    }

    /// Makes a topic, if the configuration allows it.
    async fn make(&self, topic: &Str) -> Result<Option<Refusal>, SinkError> {
        let config = &self.config.topics;
        let allowed = |name: &str| config.create.iter().any(|pattern| matches(pattern, name));
        if !allowed(topic) {
            return Ok(Some(Refusal {
                reason: "unknown_topic",
                message: explain(Code::UnknownTopic, topic),
                is_by_list: true,
            }));
        }
        let made = self
            .known
            .read()
            .iter()
            .filter(|known| allowed(known))
            .count();
        if made >= config.max {
            return Ok(Some(Refusal {
                reason: "too_many_topics",
                message: format!(
                    "`{topic}` would be one more than the {} topics that `topics.max` allows",
                    config.max
                ),
                is_by_list: true,
            }));
        }
        let admin: AdminClient<DefaultClientContext> =
            client::connection(&self.config).create().map_err(|error| {
                SinkError::caused(
                    "cannot talk to the cluster; check the sink's settings",
                    error,
                )
            })?;
        let retention = config
            .retention
            .map(|kept| kept.get().as_millis().to_string());
        let mut new = NewTopic::new(
            topic,
            config.partitions.unwrap_or(-1),
            TopicReplication::Fixed(config.replication.unwrap_or(-1)),
        );
        if let Some(retention) = &retention {
            new = new.set("retention.ms", retention);
        }
        for (name, value) in &config.settings {
            new = new.set(name, value);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        let code = match admin.create_topics([&new], &options).await {
            Ok(results) => match results.into_iter().next() {
                Some(Err((_, code))) => Some(code),
                _ => None,
            },
            Err(error) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                return Err(SinkError::caused(explain(code, topic), error));
            }
        };
        match code {
            None => {
                tracing::info!(%topic, "created");
                Ok(None)
            }
            Some(Code::TopicAlreadyExists) => Ok(None),
            Some(code) => match Meaning::of(code) {
                Meaning::Rejected(reason) => Ok(Some(Refusal {
                    reason,
                    message: explain(code, topic),
                    is_by_list: false,
                })),
                _ => Err(SinkError::new(explain(code, topic))),
            },
        }
    }
}

impl Cluster for Arc<Producer> {
    async fn topics(&self) -> Result<HashSet<Str>, SinkError> {
        let producer = Arc::clone(self);
        let listed = tokio::task::spawn_blocking(move || {
            let metadata = producer.inner().client().fetch_metadata(None, PATIENCE)?;
            Ok(metadata
                .topics()
                .iter()
                .map(|topic| Str::from(topic.name()))
                .collect())
        });
        match listed.await {
            Ok(Ok(topics)) => Ok(topics),
            Ok(Err(error)) => {
                let error: rdkafka::error::KafkaError = error;
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                Err(SinkError::caused(explain(code, ""), error))
            }
            Err(_cancelled) => Err(SinkError::new("the runtime is shutting down")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists a topic from the given time it is asked on.
    struct Late {
        topic: Str,
        from: u64,
        asked: AtomicU64,
    }

    impl Late {
        fn new(from: u64) -> Self {
            Self {
                topic: "late".into(),
                from,
                asked: AtomicU64::new(0),
            }
        }

        fn asked(&self) -> u64 {
            self.asked.swap(0, Ordering::Relaxed)
        }
    }

    impl Cluster for Late {
        async fn topics(&self) -> Result<HashSet<Str>, SinkError> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            let topics = ["other".into(), self.topic.clone()];
            let shown = if asked >= self.from { 2 } else { 1 };
            Ok(topics.into_iter().take(shown).collect())
        }
    }

    fn topics(change: impl FnOnce(&mut Config)) -> Topics {
        let mut config = Config::new("localhost:9092");
        change(&mut config);
        Topics::new(config)
    }

    async fn refusal(topics: &Topics, cluster: &Late) -> Option<Refusal> {
        let refused = topics.ensure(cluster, std::iter::once(&cluster.topic));
        refused.await.unwrap().remove(&cluster.topic)
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_was_made_a_moment_before_is_looked_for_again() {
        for from in 1..=LOOK_AGAIN.len() as u64 + 1 {
            let (topics, cluster) = (topics(|_| {}), Late::new(from));
            assert!(refusal(&topics, &cluster).await.is_none());
            assert_eq!(cluster.asked(), from);
            assert!(refusal(&topics, &cluster).await.is_none());
            assert_eq!(cluster.asked(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_made_a_moment_before_is_not_over_the_cap() {
        let topics = topics(|config| {
            config.topics.create = vec!["*".to_owned()];
            config.topics.max = 1;
        });
        assert!(refusal(&topics, &Late::new(2)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_not_there_is_looked_for_again_once() {
        let (topics, cluster) = (topics(|_| {}), Late::new(u64::MAX));
        let again = LOOK_AGAIN.len() as u64;
        for asked in [1 + again, 1, 1] {
            let refusal = refusal(&topics, &cluster).await.unwrap();
            assert_eq!(refusal.reason, "unknown_topic");
            assert_eq!(cluster.asked(), asked);
        }
        // Once it was there, the next time counts anew.
        assert!(refusal(&topics, &Late::new(1)).await.is_none());
        topics.forget("late");
        assert!(refusal(&topics, &cluster).await.is_some());
        assert_eq!(cluster.asked(), 1 + again);
    }

    #[tokio::test(start_paused = true)]
    async fn names_without_end_hold_nobody_up() {
        let topics = topics(|_| {});
        let mut asked = 0;
        let names = u64::from(DOUBTS.get()) * 2;
        for name in 0..names {
            let mut cluster = Late::new(u64::MAX);
            cluster.topic = format!("name-{name}").into();
            assert!(refusal(&topics, &cluster).await.is_some());
            asked += cluster.asked();
        }
        let again = u64::from(DOUBTS.get()) * LOOK_AGAIN.len() as u64;
        // The time between is real, and may have allowed one more.
        assert!(
            (names + again..names + again * 2).contains(&asked),
            "{asked}"
        );
    }
}
