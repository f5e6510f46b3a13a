//! A `data_dir` that no gateway uses, as a [`Gateway`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use headgate_sdk::Str;
use serde_json::Value;

use super::api::{
    Checkpoint, Component, DeadLetter, DeadLetterQuery, DeadLettersDone, Entries, EntriesQuery,
    LogQuery, NewPosition, Reloaded, ReplayDone, ReplayFrom, ReplayQuery, Status, Trace,
    TraceQuery,
};
use super::dead_letters;
use super::gateway::{Answer, Gateway, GatewayError, LetterAction, LogLines, SourceAction};
use super::replay;
use super::{stored, trace};
use crate::config::{LoadError, Loader, Outline};
use crate::dead_letters::DeadLetterStore;
use crate::journal::{self, Journal};
use crate::replay::cursor::{CursorError, position};
use crate::replay::{from_journal, from_log, from_topics};
use crate::runtime::{Checkpoints, DataDir};
use crate::segment::RealFiles;
use crate::sink::Kind;
use crate::sink::kafka::TopicReader;
use crate::sink::log::{self, EmbeddedLog, Start, lines};
use crate::trace::{Ledger, Places};

/// The state in a `data_dir`, under its lock, for as long as the value lives.
pub struct Offline {
    outline: Outline,
    file: PathBuf,
    address: SocketAddr,
    data_dir: DataDir,
    checkpoints: Checkpoints,
}

impl Offline {
    /// Opens the `data_dir` of `outline`, of the configuration in `file`. Blocks.
    ///
    /// # Errors
    /// [`GatewayError::NotRunning`] if there is none yet, [`GatewayError::Failed`] if it cannot be used.
    pub fn open(outline: Outline, file: PathBuf) -> Result<Self, GatewayError> {
        let address = outline.globals.admin.listen;
        if !outline.globals.data_dir.exists() {
            return Err(GatewayError::NotRunning {
                address: address.to_string(),
            });
        }
        let failed = |error: &dyn std::fmt::Display| GatewayError::Failed(error.to_string());
        let data_dir = DataDir::open(&outline.globals.data_dir, outline.globals.shards)
            .map_err(|error| failed(&error))?;
        let checkpoints =
            Checkpoints::open(&data_dir.checkpoints()).map_err(|error| failed(&error))?;
        Ok(Self {
            outline,
            file,
            address,
            data_dir,
            checkpoints,
        })
    }

    fn not_running<T: Send + 'static>(&self) -> Answer<'_, T> {
        let address = self.address.to_string();
        async move { Err(GatewayError::NotRunning { address }) }.boxed()
    }

    /// The checkpoints, with those that the embedded logs hold and the index does not: a gateway that was killed leaves some. What
    /// is set on top of them is what the next start finds.
    async fn present_checkpoints(&self) -> Result<&Checkpoints, GatewayError> {
        for (name, kind) in &self.outline.sinks {
            if kind == "log" {
                let log = self.open_log(Some(name)).await?;
                let caught_up = log.catch_up(&name.as_str().into(), &self.checkpoints).await;
                caught_up.map_err(|error| GatewayError::Failed(error.to_string()))?;
            }
        }
        Ok(&self.checkpoints)
    }

    async fn open_dead_letters(&self) -> Result<DeadLetterStore, GatewayError> {
        let folder = self.data_dir.dead_letters();
        let max_bytes = self.outline.globals.limits.dead_letters.bytes();
        let opened =
            tokio::task::spawn_blocking(move || DeadLetterStore::open(&folder, max_bytes)).await;
        opened
            .map_err(dead_letters::failed)?
            .map_err(dead_letters::failed)
    }

    /// The embedded log of a sink, or of the first one that has one.
    async fn open_log(&self, name: Option<&str>) -> Result<Arc<EmbeddedLog>, GatewayError> {
        let mut logs = self.outline.sinks.iter().filter(|(_, kind)| kind == "log");
        let found = logs.find(|(known, _)| name.is_none_or(|name| name == known));
        let Some((name, _)) = found else {
            return Err(GatewayError::Refused(
                "no sink of this configuration is an embedded log; add one with `type: log`"
                    .to_owned(),
            ));
        };
        let folder = self.data_dir.log().join(name);
        let opened = tokio::task::spawn_blocking(move || {
            EmbeddedLog::open(&folder, log::Config::default(), RealFiles)
        });
        let (log, _) = opened
            .await
            .map_err(dead_letters::failed)?
            .map_err(dead_letters::failed)?;
        Ok(log)
    }

    async fn open_journal(&self) -> Result<Journal, GatewayError> {
        let folder = self.data_dir.journal();
        let opened = tokio::task::spawn_blocking(move || {
            Journal::open(&folder, journal::Config::default(), RealFiles)
        });
        let (journal, _) = opened
            .await
            .map_err(dead_letters::failed)?
            .map_err(dead_letters::failed)?;
        Ok(journal)
    }

    /// The clusters of the sinks that are one. They need the whole configuration, with its secrets.
    fn topics(&self) -> Result<Vec<(Str, TopicReader)>, LoadError> {
        if !self.outline.sinks.iter().any(|(_, kind)| kind == "kafka") {
            return Ok(Vec::new());
        }
        let config = Loader::new().load(&self.file)?.config;
        let group = config.globals.group.clone();
        let readers = config.sinks.into_iter().filter_map(|sink| match sink.kind {
            Kind::Kafka(kafka) => Some((sink.name, TopicReader::new(*kafka, group.clone()))),
            Kind::Log(_) | Kind::Stdout(_) => None,
        });
        Ok(readers.collect())
    }

    async fn find(&self, id: &str, query: &TraceQuery) -> Result<Trace, GatewayError> {
        let (topics, gap) = match self.topics() {
            Ok(topics) => (topics, None),
            Err(error) => (
                Vec::new(),
                Some(format!("topics were not looked through: {error}")),
            ),
        };
        trace::find(&self.places(topics).await?, id, query, gap).await
    }

    /// Where an event can be.
    async fn places(&self, topics: Vec<(Str, TopicReader)>) -> Result<Places, GatewayError> {
        let mut logs = Vec::new();
        for (name, _) in self.outline.sinks.iter().filter(|(_, kind)| kind == "log") {
            logs.push((Str::new(name), self.open_log(Some(name.as_str())).await?));
        }
        let (folder, config) = (self.data_dir.trace(), self.outline.globals.trace.clone());
        let opened = tokio::task::spawn_blocking(move || Ledger::open(&folder, config));
        let (ledger, _) = opened
            .await
            .map_err(dead_letters::failed)?
            .map_err(dead_letters::failed)?;
        Ok(Places {
            journal: self.open_journal().await?,
            logs,
            dead_letters: self.open_dead_letters().await?,
            topics,
            ledger: Some(ledger),
        })
    }

    async fn count_replay(&self, query: &ReplayQuery) -> Result<ReplayDone, GatewayError> {
        let choice = replay::choice(query)?;
        let limit = query.limit.clamp(1, replay::MOST);
        let invalid = |error: CursorError| GatewayError::Invalid(error.to_string());
        let after = query.after.as_deref();
        let mut refused = BTreeMap::new();
        let (taken, next) = match query.from {
            ReplayFrom::Log => {
                let log = self.open_log(query.sink.as_deref()).await?;
                let reader = log.reader(match position(after).map_err(invalid)? {
                    0 => Start::Oldest,
                    after => Start::After(after),
                });
                let chunk = from_log(reader, &choice, limit).await;
                let chunk = chunk.map_err(dead_letters::failed)?;
                (chunk.events.len(), chunk.next.map(|next| next.to_string()))
            }
            ReplayFrom::Journal => {
                let journal = self.open_journal().await?;
                let after = position(after).map_err(invalid)?;
                let chunk = from_journal(&journal, &choice, after, limit).await;
                let chunk = chunk.map_err(dead_letters::failed)?;
                (chunk.events.len(), chunk.next.map(|next| next.to_string()))
            }
            ReplayFrom::Kafka => {
                let topics = replay::topics(query)?;
                let readers = self.topics().map_err(dead_letters::failed)?;
                let wanted = query.sink.as_deref();
                let mut named = readers.iter();
                let found = named.find(|(name, _)| wanted.is_none_or(|wanted| wanted == name));
                let (_, reader) = found.ok_or_else(|| {
                    GatewayError::Refused("there is no such sink that writes to Kafka".to_owned())
                })?;
                let chunk = from_topics(reader, &topics, &choice, after, limit).await;
                let chunk = chunk.map_err(dead_letters::failed)?;
                refused = chunk.refused;
                (chunk.events.len(), chunk.next)
            }
        };
        Ok(ReplayDone {
            taken,
            refused,
            next,
        })
    }

    fn status_now(&self) -> Status {
        let stopped = |(name, kind): &(String, String)| Component {
            name: name.clone(),
            kind: kind.clone(),
            state: "stopped".to_owned(),
            reason: None,
            breaker: None,
            warnings: BTreeMap::new(),
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            group: self.outline.globals.group.to_string(),
            instance: self.data_dir.identity().instance.to_string(),
            ready: false,
            reason: Some("no gateway runs; start it with `headgate run`".to_owned()),
            started: None,
            journal: None,
            sources: self.outline.sources.iter().map(stopped).collect(),
            sinks: self.outline.sinks.iter().map(stopped).collect(),
        }
    }
}

impl Gateway for Offline {
    fn status(&self) -> Answer<'_, Status> {
        async { Ok(self.status_now()) }.boxed()
    }

    fn act<'a>(&'a self, _: &'a str, _: SourceAction) -> Answer<'a, ()> {
        self.not_running()
    }

    fn control<'a>(&'a self, _: &'a str, _: &'a str, _: Value) -> Answer<'a, Value> {
        self.not_running()
    }

    fn checkpoints<'a>(&'a self, source: Option<&'a str>) -> Answer<'a, Vec<Checkpoint>> {
        async move { stored::list(self.present_checkpoints().await?, source).await }.boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntriesQuery) -> Answer<'a, Entries> {
        stored::entries(&self.checkpoints, query).boxed()
    }

    fn set_checkpoint<'a>(&'a self, new: &'a NewPosition) -> Answer<'a, ()> {
        async move { stored::set(self.present_checkpoints().await?, new).await }.boxed()
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        self.not_running()
    }

    fn dead_letters<'a>(&'a self, query: &'a DeadLetterQuery) -> Answer<'a, Vec<DeadLetter>> {
        async move { dead_letters::list(&self.open_dead_letters().await?, query).await }.boxed()
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        action: LetterAction,
        query: &'a DeadLetterQuery,
    ) -> Answer<'a, DeadLettersDone> {
        match action {
            // Their pipelines do not run; the command brings them to life.
            LetterAction::Retry => self.not_running(),
            LetterAction::Discard => {
                async move { dead_letters::discard(&self.open_dead_letters().await?, query).await }
                    .boxed()
            }
        }
    }

    fn trace<'a>(&'a self, id: &'a str, query: &'a TraceQuery) -> Answer<'a, Trace> {
        self.find(id, query).boxed()
    }

    fn replay<'a>(&'a self, query: &'a ReplayQuery) -> Answer<'a, ReplayDone> {
        // Sinks and pipelines do not run; counting needs neither. The command brings them to life for the rest.
        if !query.dry_run {
            return self.not_running();
        }
        self.count_replay(query).boxed()
    }

    fn log<'a>(&'a self, query: &'a LogQuery) -> Answer<'a, LogLines> {
        async move {
            let log = self.open_log(None).await?;
            // Nothing can come while no gateway runs.
            let query = LogQuery {
                follow: false,
                ..query.clone()
            };
            lines(&log, &query)
        }
        .boxed()
    }
}
