//! The connector, as the gateway's registry knows it.

use futures::future::BoxFuture;
use headgate_sdk::{
    BuildError, Connector, SourceInfo,
    command::{CommandContext, CommandOutcome},
};

use crate::{
    command,
    config::{Checked, Config},
    source::MongoSource,
};

/// MongoDB change streams.
#[derive(Debug)]
pub struct Mongodb;

impl Connector for Mongodb {
    const NAME: &'static str = "mongodb";
    const SUMMARY: &'static str = "follows MongoDB change streams: every change of a collection, database or deployment, and what was there before";
    type Config = Config;
    type Source = MongoSource;

    fn build(config: Config, info: &SourceInfo) -> Result<MongoSource, BuildError> {
        Ok(MongoSource::new(Checked::new(config, info)?))
    }

    fn command() -> Option<clap::Command> {
        Some(command::definition())
    }

    fn run_command<'a>(
        matches: &'a clap::ArgMatches,
        cx: CommandContext<'a>,
    ) -> BoxFuture<'a, CommandOutcome> {
        Box::pin(command::run(matches, cx))
    }
}
