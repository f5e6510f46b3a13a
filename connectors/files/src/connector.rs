//! The connector, as the gateway's registry knows it.

use futures::future::BoxFuture;
use headgate_sdk::{
    BuildError, Connector, SourceInfo,
    command::{CommandContext, CommandOutcome},
};

use crate::{
    command,
    config::{Config, Plan},
    source::FilesSource,
};

/// Watched folders.
#[derive(Debug)]
pub struct Files;

impl Connector for Files {
    const NAME: &'static str = "files";
    const SUMMARY: &'static str =
        "watches folders: each complete file, or each of its records, becomes an event, once";
    type Config = Config;
    type Source = FilesSource;

    fn build(config: Config, _info: &SourceInfo) -> Result<FilesSource, BuildError> {
        Ok(FilesSource::new(Plan::new(config)?))
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
