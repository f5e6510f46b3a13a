//! The connector, as the gateway's registry knows it.

use futures::future::BoxFuture;
use headgate_sdk::{
    BuildError, Connector, Example, ExampleContext, SourceInfo,
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

    fn examples(config: &Config, _cx: &ExampleContext<'_>) -> Vec<Example> {
        let takes_any_name = config.include.is_empty() && config.extensions.is_empty();
        let folder = config.paths.iter().find(|path| !path.contains(['{', '\'']));
        match folder {
            Some(folder) if takes_any_name && config.marker.is_none() => vec![Example {
                what: "drop a file".to_owned(),
                command: format!("mkdir -p '{folder}' && echo hello > '{folder}/hello.txt'"),
            }],
            _ => Vec::new(),
        }
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
