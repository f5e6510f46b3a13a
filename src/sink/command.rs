//! The sinks' own commands, as connectors have theirs: `headgate kafka check`.

use clap::ArgMatches;
use futures::future::BoxFuture;
use headgate_sdk::{Str, command::CommandOutcome};

use super::{Kind, kafka};
use crate::config::Config;

/// The commands of one kind of sink.
#[derive(Clone, Copy)]
pub struct SinkCommand {
    /// The kind: `type:` in the configuration, and the word on the command line.
    pub kind: &'static str,
    /// What can be said on the command line.
    pub definition: fn() -> clap::Command,
    /// Runs it.
    pub run: for<'a> fn(&'a ArgMatches, SinkCommandContext<'a>) -> BoxFuture<'a, CommandOutcome>,
}

/// What a sink's command may use.
#[derive(Clone, Copy)]
pub struct SinkCommandContext<'a> {
    /// Loads the configuration (`-c FILE`) when asked; an error has been said already.
    pub config: &'a (dyn Fn() -> Result<Config, CommandOutcome> + Sync),
}

impl SinkCommandContext<'_> {
    /// The configuration, and its sinks of a kind by name.
    pub(super) fn sinks<T>(
        &self,
        pick: impl Fn(Kind) -> Option<T>,
    ) -> Result<(Config, Vec<(Str, T)>), CommandOutcome> {
        let config = (self.config)()?;
        let sinks = config.sinks.iter();
        let sinks = sinks.filter_map(|sink| Some((sink.name.clone(), pick(sink.kind.clone())?)));
        let sinks = sinks.collect();
        Ok((config, sinks))
    }
}

/// All sinks that have commands.
#[must_use]
pub fn commands() -> &'static [SinkCommand] {
    &[SinkCommand {
        kind: "kafka",
        definition: kafka::check::definition,
        run: |matches, cx| Box::pin(kafka::check::run(matches, cx)),
    }]
}
