//! A pipeline in the configuration.

use std::sync::Arc;

use headgate_sdk::Str;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    dedup, filter, keep_fields, max_age, max_hops, rate_limit, redact, remove, rename, route, set,
    step::EventStep, transform, validate,
};

/// The steps of a pipeline, in the order in which every batch takes them.
pub type Pipeline = Vec<Step>;

/// One step: a single key that names the layer, with the layer's settings below it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Passes on the events that match and drops the others.
    Filter(filter::Config),
    /// Changes events by a VRL program.
    Transform(transform::Config),
    /// Sets members of JSON data and attributes.
    Set(set::Config),
    /// Takes members of JSON data and attributes away.
    Remove(remove::Config),
    /// Gives members of JSON data another name or place.
    Rename(rename::Config),
    /// Keeps what is named of JSON data.
    KeepFields(keep_fields::Config),
    /// Masks, hashes or takes away what others must not read.
    Redact(redact::Config),
    /// Checks JSON data against a JSON Schema: draft 2020-12, or the one that its `$schema` names.
    Validate(validate::Config),
    /// Drops events whose key another event had before.
    Dedup(dedup::Config),
    /// Takes care of stale events.
    MaxAge(max_age::Config),
    /// Ends chains of events that come back again and again.
    MaxHops(max_hops::Config),
    /// Lets so many events through in a time.
    RateLimit(rate_limit::Config),
    /// Decides topic, key, headers and sinks. Usually the last step; without one, the defaults of `route` apply.
    Route(route::Config),
}

impl Step {
    /// The name under which this step's figures, state and dead letters are found: the layer's name, numbered from the second of a
    /// kind on, unless the step has a `name` of its own.
    #[must_use]
    pub fn name(&self, earlier_of_its_kind: usize) -> String {
        let (kind, own) = self.kind_and_name();
        match (own, earlier_of_its_kind) {
            (Some(own), _) => own.clone(),
            (None, 0) => kind.to_owned(),
            (None, n) => format!("{kind}-{}", n + 1),
        }
    }

    /// The layer's name: its key in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind_and_name().0
    }

    fn kind_and_name(&self) -> (&'static str, Option<&String>) {
        match self {
            Self::Filter(config) => ("filter", config.name.as_ref()),
            Self::Transform(config) => ("transform", config.name.as_ref()),
            Self::Set(config) => ("set", config.name.as_ref()),
            Self::Remove(config) => ("remove", config.name.as_ref()),
            Self::Rename(config) => ("rename", config.name.as_ref()),
            Self::KeepFields(config) => ("keep_fields", config.name.as_ref()),
            Self::Redact(config) => ("redact", config.name.as_ref()),
            Self::Validate(config) => ("validate", config.name.as_ref()),
            Self::Dedup(config) => ("dedup", config.name.as_ref()),
            Self::MaxAge(config) => ("max_age", config.name.as_ref()),
            Self::MaxHops(config) => ("max_hops", config.name.as_ref()),
            Self::RateLimit(config) => ("rate_limit", config.name.as_ref()),
            Self::Route(config) => ("route", config.name.as_ref()),
        }
    }

    /// The step `name`, if it looks at one event after another and needs nothing but itself.
    #[must_use]
    pub fn event_step(&self, name: &Str) -> Option<Arc<dyn EventStep>> {
        let name = name.clone();
        Some(match self {
            Self::Filter(config) => Arc::new(filter::FilterStep::new(config, name)),
            Self::Transform(config) => Arc::new(transform::TransformStep::new(config, name)),
            Self::Set(config) => Arc::new(set::SetStep::new(config, name)),
            Self::Remove(config) => Arc::new(remove::RemoveStep::new(config, name)),
            Self::Rename(config) => Arc::new(rename::RenameStep::new(config, name)),
            Self::KeepFields(config) => Arc::new(keep_fields::KeepFieldsStep::new(config, name)),
            Self::Redact(config) => Arc::new(redact::RedactStep::new(config, name)),
            Self::Validate(config) => Arc::new(validate::ValidateStep::new(config, name)),
            Self::MaxAge(config) => Arc::new(max_age::MaxAgeStep::new(config, name)),
            Self::MaxHops(config) => Arc::new(max_hops::MaxHopsStep::new(config, name)),
            Self::Dedup(_) | Self::RateLimit(_) | Self::Route(_) => return None,
        })
    }
}
