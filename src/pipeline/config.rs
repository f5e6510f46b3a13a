//! A pipeline in the configuration.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{filter, rate_limit, route};

/// The steps of a pipeline, in the order in which every batch takes them.
pub type Pipeline = Vec<Step>;

/// One step: a single key that names the layer, with the layer's settings below it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Passes on the events that match and drops the others.
    Filter(filter::Config),
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
        let (kind, own) = match self {
            Self::Filter(config) => ("filter", config.name.as_ref()),
            Self::RateLimit(config) => ("rate_limit", config.name.as_ref()),
            Self::Route(config) => ("route", config.name.as_ref()),
        };
        match (own, earlier_of_its_kind) {
            (Some(own), _) => own.clone(),
            (None, 0) => kind.to_owned(),
            (None, n) => format!("{kind}-{}", n + 1),
        }
    }
}
