//! A `data_dir` that no gateway uses, as a [`Gateway`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::FutureExt;
use serde_json::Value;

use super::api::{
    Checkpoint, Component, DeadLetter, DeadLetterQuery, DeadLettersDone, Entries, EntriesQuery,
    LogQuery, NewPosition, Reloaded, Status,
};
use super::dead_letters;
use super::gateway::{Answer, Gateway, GatewayError, LetterAction, LogLines, SourceAction};
use super::stored;
use crate::config::Outline;
use crate::dead_letters::DeadLetterStore;
use crate::runtime::{Checkpoints, DataDir};
use crate::segment::RealFiles;
use crate::sink::log::{self, EmbeddedLog, lines};

/// The state in a `data_dir`, under its lock, for as long as the value lives.
pub struct Offline {
    outline: Outline,
    address: SocketAddr,
    data_dir: DataDir,
    checkpoints: Checkpoints,
}

impl Offline {
    /// Opens the `data_dir` of `outline`. Blocks.
    ///
    /// # Errors
    /// [`GatewayError::NotRunning`] if there is none yet, [`GatewayError::Failed`] if it cannot be used.
    pub fn open(outline: Outline) -> Result<Self, GatewayError> {
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
            address,
            data_dir,
            checkpoints,
        })
    }

    fn not_running<T: Send + 'static>(&self) -> Answer<'_, T> {
        let address = self.address.to_string();
        async move { Err(GatewayError::NotRunning { address }) }.boxed()
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
        stored::list(&self.checkpoints, source).boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntriesQuery) -> Answer<'a, Entries> {
        stored::entries(&self.checkpoints, query).boxed()
    }

    fn set_checkpoint<'a>(&'a self, new: &'a NewPosition) -> Answer<'a, ()> {
        stored::set(&self.checkpoints, new).boxed()
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
            // Their pipelines do not run.
            LetterAction::Retry => self.not_running(),
            LetterAction::Discard => {
                async move { dead_letters::discard(&self.open_dead_letters().await?, query).await }
                    .boxed()
            }
        }
    }

    fn log<'a>(&'a self, query: &'a LogQuery) -> Answer<'a, LogLines> {
        async move {
            let Some((name, _)) = self.outline.sinks.iter().find(|(_, kind)| kind == "log") else {
                return Err(GatewayError::Refused(
                    "no sink of this configuration is an embedded log; add one with `type: log`"
                        .to_owned(),
                ));
            };
            let folder = self.data_dir.log().join(name);
            let opened = tokio::task::spawn_blocking(move || {
                EmbeddedLog::open(&folder, log::Config::default(), RealFiles)
            });
            let failed = |error: &dyn std::fmt::Display| GatewayError::Failed(error.to_string());
            let (log, _) = opened
                .await
                .map_err(|error| failed(&error))?
                .map_err(|error| failed(&error))?;
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
