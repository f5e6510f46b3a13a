//! Sending events through a pipeline that ends in names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headgate_sdk::{DeadLetter, Envelope, LaneId, Replay, SourceInfo, Str};

use super::case::{Case, CaseError};
use crate::config::Config;
use crate::pipeline::route::Router;
use crate::pipeline::stack::PipelinePlan;
use crate::pipeline::{LaneContext, LayerStates, PipelineBatch};
use crate::sink::Record;

/// A configuration on trial.
#[derive(Debug)]
pub struct Trial<'a> {
    config: &'a Config,
    sinks: Vec<Str>,
}

/// What came out of a case.
#[derive(Debug, Default)]
pub struct Outcome {
    /// By sink, what it would write, in order. Every sink is there.
    pub sinks: BTreeMap<Str, Vec<Record>>,
    /// What failed, in order.
    pub dead_letters: Vec<DeadLetter>,
    /// The events after each step, for those who want to look.
    pub seen: Vec<Seen>,
}

/// What a step left of a batch.
#[derive(Debug)]
pub struct Seen {
    /// The step, `input` first.
    pub step: Str,
    /// The events behind it.
    pub events: Vec<Envelope>,
    /// What failed in it.
    pub dead_letters: Vec<DeadLetter>,
}

/// A case that cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It names no source, or one that there is not.
    #[error("{0}")]
    Source(String),
    /// Its event cannot be made.
    #[error(transparent)]
    Case(#[from] CaseError),
}

impl<'a> Trial<'a> {
    /// A trial of `config`.
    #[must_use]
    pub fn new(config: &'a Config) -> Self {
        Self {
            config,
            sinks: config.sinks.iter().map(|sink| sink.name.clone()).collect(),
        }
    }

    /// Runs one case; files of events are found from `folder`. State of layers begins anew.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn run(&self, case: &Case, folder: &Path) -> Result<Outcome, TrialError> {
        let (info, plan) = self.source(case.source.as_deref())?;
        let lane = Arc::new(LaneContext {
            id: LaneId::from_stored(format!("{}/test", info.name)),
            source: info.name.clone(),
            tenant: info.tenant.clone(),
            replay: Replay::FromSource,
            shard: 0,
        });
        let states = LayerStates::default();
        let steps = plan.event_steps(&states);
        let (route_step, route) = plan.route();
        let mut router = Router::new(&route, route_step.clone(), &self.sinks);
        let mut outcome = Outcome {
            sinks: self
                .sinks
                .iter()
                .map(|name| (name.clone(), Vec::new()))
                .collect(),
            ..Outcome::default()
        };
        for (number, spec) in case.event.iter().chain(&case.events).enumerate() {
            let event = spec.event(number + 1, &info, folder)?;
            let mut batch = PipelineBatch::new(Arc::clone(&lane), vec![event]);
            outcome.see("input".into(), &mut batch);
            for (name, step) in &steps {
                step.apply(&mut batch);
                outcome.see(name.clone(), &mut batch);
            }
            let mut records = Vec::new();
            for event in std::mem::take(&mut batch.events) {
                router.route(event, lane.id.as_str(), &mut records, &mut batch.rejected);
            }
            outcome.see(route_step.clone(), &mut batch);
            for routed in records {
                for (index, name) in self.sinks.iter().enumerate() {
                    if routed.sinks.contains(index) {
                        outcome
                            .sinks
                            .entry(name.clone())
                            .or_default()
                            .push(routed.record.clone());
                    }
                }
            }
        }
        Ok(outcome)
    }

    fn source(&self, name: Option<&str>) -> Result<(SourceInfo, PipelinePlan), TrialError> {
        let sources = &self.config.sources;
        let known = || {
            let names: Vec<String> = sources
                .iter()
                .map(|source| format!("`{}`", source.name))
                .collect();
            names.join(", ")
        };
        let source = match name {
            Some(name) => sources.iter().find(|source| source.name == name),
            None if sources.len() == 1 => sources.first(),
            None => {
                return Err(TrialError::Source(format!(
                    "the case does not say whose pipeline it tries: write `source:` with one of {}",
                    known()
                )));
            }
        };
        let source = source.ok_or_else(|| {
            TrialError::Source(format!(
                "there is no source `{}`; there are {}",
                name.unwrap_or_default(),
                known()
            ))
        })?;
        let pipeline = source.common.pipeline();
        let steps = self
            .config
            .pipelines
            .get(pipeline)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let info = self.config.source_info(source, &Str::new_static("test"));
        Ok((info, PipelinePlan::new(pipeline, steps)))
    }
}

impl Outcome {
    /// Notes what is left of the batch, and takes its dead letters.
    fn see(&mut self, step: Str, batch: &mut PipelineBatch) {
        let letters = std::mem::take(&mut batch.rejected);
        self.dead_letters.extend(letters.iter().cloned());
        self.seen.push(Seen {
            step,
            events: batch.events.clone(),
            dead_letters: letters,
        });
    }
}
