//! The gateway of this process, as a [`Gateway`].

use std::path::PathBuf;

use futures::FutureExt;
use headgate_sdk::control::ControlError;
use serde_json::Value;

use super::api::{
    Checkpoint, Component, DeadLetter, DeadLetterQuery, DeadLettersDone, Entries, EntriesQuery,
    Journal, LogQuery, NewPosition, Reloaded, ReplayDone, ReplayQuery, Status, Trace, TraceQuery,
};
use super::dead_letters;
use super::gateway::{Answer, Gateway, GatewayError, LetterAction, LogLines, SourceAction};
use super::replay;
use super::{stored, trace};
use crate::config::{Config, LoadError, Loader};
use crate::runtime;
use crate::sink::log::lines;

/// A running gateway and where its configuration came from.
pub struct Running {
    gateway: runtime::Gateway,
    file: PathBuf,
    started: jiff::Timestamp,
}

impl Running {
    /// Speaks for `gateway`, whose configuration is read from `file` again at a reload.
    pub fn new(gateway: runtime::Gateway, file: PathBuf) -> Self {
        Self {
            gateway,
            file,
            started: jiff::Timestamp::now(),
        }
    }

    fn source(&self, name: &str) -> Result<runtime::SourceHandle, GatewayError> {
        self.gateway.source(name).ok_or_else(|| {
            let config = self.gateway.config();
            let names: Vec<String> = config
                .sources
                .iter()
                .map(|source| format!("`{}`", source.name))
                .collect();
            GatewayError::NotFound(match names.as_slice() {
                [] => format!("there is no source `{name}`; none is configured"),
                names => format!(
                    "there is no source `{name}`; there are {}",
                    names.join(", ")
                ),
            })
        })
    }

    fn status_now(&self) -> Status {
        let (report, config) = (self.gateway.report(), self.gateway.config());
        let stats = self.gateway.journal().stats();
        let kind = |name: &str| sink_kind(&config, name);
        let instant =
            |ms: u64| jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).ok();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            group: config.globals.group.to_string(),
            instance: self.gateway.data_dir().identity().instance.to_string(),
            ready: report.ready,
            reason: report.reason,
            started: Some(self.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            journal: Some(Journal {
                bytes: stats.bytes,
                capacity_bytes: stats.max_bytes,
                oldest_undelivered: stats
                    .oldest_ms
                    .and_then(instant)
                    .map(|instant| instant.to_string()),
                corruptions: stats.corruptions as u64,
            }),
            sources: report
                .sources
                .into_iter()
                .map(|source| Component {
                    name: source.name,
                    kind: source.connector,
                    state: source.state,
                    reason: source.reason,
                    breaker: None,
                    warnings: source.warnings,
                })
                .collect(),
            sinks: report
                .sinks
                .into_iter()
                .map(|sink| Component {
                    kind: kind(&sink.name),
                    name: sink.name,
                    state: sink.state,
                    reason: sink.reason,
                    breaker: Some(sink.breaker),
                    warnings: sink.warnings,
                })
                .collect(),
        }
    }

    async fn reload_now(&self) -> Result<Reloaded, GatewayError> {
        let file = self.file.clone();
        let loaded = tokio::task::spawn_blocking(move || Loader::new().load(&file))
            .await
            .map_err(|error| GatewayError::Failed(error.to_string()))?;
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(LoadError::Invalid(error)) => {
                return Err(GatewayError::Configuration(error.findings().to_vec()));
            }
            Err(error @ LoadError::Unreadable { .. }) => {
                return Err(GatewayError::Failed(error.to_string()));
            }
        };
        let reloaded = self
            .gateway
            .reload(loaded.config)
            .await
            .map_err(|error| GatewayError::Refused(error.to_string()))?;
        let say = |sources: Vec<String>, what: &'static str| {
            sources
                .into_iter()
                .map(move |source| format!("{source}: {what}"))
        };
        let changes = say(reloaded.started, "started")
            .chain(say(reloaded.restarted, "restarted with its new settings"))
            .chain(say(reloaded.swapped, "goes through its new pipeline"))
            .chain(say(
                reloaded.stopped,
                "stopped; what it had sent is still delivered",
            ));
        Ok(Reloaded {
            changes: changes.collect(),
            warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        })
    }
}

fn sink_kind(config: &Config, name: &str) -> String {
    config
        .sinks
        .iter()
        .find(|sink| sink.name == name)
        .map(|sink| sink.common.kind.clone())
        .unwrap_or_default()
}

impl Gateway for Running {
    fn status(&self) -> Answer<'_, Status> {
        async { Ok(self.status_now()) }.boxed()
    }

    fn act<'a>(&'a self, source: &'a str, action: SourceAction) -> Answer<'a, ()> {
        async move {
            let handle = self.source(source)?;
            match action {
                SourceAction::Pause => handle.pause(),
                SourceAction::Resume => handle.resume(),
                SourceAction::Restart => handle.restart(),
            }
            Ok(())
        }
        .boxed()
    }

    fn control<'a>(
        &'a self,
        source: &'a str,
        action: &'a str,
        arguments: Value,
    ) -> Answer<'a, Value> {
        async move {
            let handle = self.source(source)?;
            Ok(handle.control(action, arguments).await?)
        }
        .boxed()
    }

    fn checkpoints<'a>(&'a self, source: Option<&'a str>) -> Answer<'a, Vec<Checkpoint>> {
        stored::list(self.gateway.checkpoints(), source).boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntriesQuery) -> Answer<'a, Entries> {
        stored::entries(self.gateway.checkpoints(), query).boxed()
    }

    fn set_checkpoint<'a>(&'a self, new: &'a NewPosition) -> Answer<'a, ()> {
        async move {
            let source = new.lane.split('/').next().unwrap_or_default();
            if self.gateway.source(source).is_some() {
                return Err(GatewayError::Refused(format!(
                    "source `{source}` runs and would overwrite it; stop the gateway, run this command again, and start it"
                )));
            }
            stored::set(self.gateway.checkpoints(), new).await
        }
        .boxed()
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        self.reload_now().boxed()
    }

    fn dead_letters<'a>(&'a self, query: &'a DeadLetterQuery) -> Answer<'a, Vec<DeadLetter>> {
        dead_letters::list(self.gateway.dead_letters(), query).boxed()
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        action: LetterAction,
        query: &'a DeadLetterQuery,
    ) -> Answer<'a, DeadLettersDone> {
        async move {
            let store = self.gateway.dead_letters();
            match action {
                LetterAction::Discard => dead_letters::discard(store, query).await,
                LetterAction::Retry => {
                    let found = dead_letters::find(store, query).await?;
                    let next = dead_letters::next(query, &found);
                    let retried = self
                        .gateway
                        .retry_dead_letters(found)
                        .await
                        .map_err(dead_letters::failed)?;
                    Ok(DeadLettersDone {
                        done: retried.accepted,
                        refused: retried.refused,
                        next,
                    })
                }
            }
        }
        .boxed()
    }

    fn trace<'a>(&'a self, id: &'a str, query: &'a TraceQuery) -> Answer<'a, Trace> {
        async move { trace::find(&self.gateway.places(), id, query, None).await }.boxed()
    }

    fn replay<'a>(&'a self, query: &'a ReplayQuery) -> Answer<'a, ReplayDone> {
        async move {
            let (way, choice) = (replay::way(query)?, replay::choice(query)?);
            let limit = query.limit.clamp(1, replay::MOST);
            let replayed = self
                .gateway
                .replay(&way, &choice, query.after.as_deref(), limit, query.dry_run)
                .await;
            replayed.map(replay::done).map_err(replay::failed)
        }
        .boxed()
    }

    fn log<'a>(&'a self, query: &'a LogQuery) -> Answer<'a, LogLines> {
        async {
            match self.gateway.log() {
                Some(log) => lines(&log, query),
                None => Err(GatewayError::Refused(
                    "no sink of this configuration is an embedded log; add one with `type: log`"
                        .to_owned(),
                )),
            }
        }
        .boxed()
    }
}

impl From<ControlError> for GatewayError {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::Unknown { .. } | ControlError::Invalid(_) => Self::Invalid(message),
            ControlError::Failed(_) => Self::Refused(message),
        }
    }
}
