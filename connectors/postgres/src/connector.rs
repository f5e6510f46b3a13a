//! The connector.

use futures::future::BoxFuture;
use headgate_sdk::{
    BuildError, Connector, SourceInfo,
    command::{CommandContext, CommandOutcome},
};

use crate::{command, config::Config, source::PostgresSource};

/// Postgres, by logical replication.
pub struct Postgres;

impl Connector for Postgres {
    const NAME: &'static str = "postgres";
    const SUMMARY: &'static str =
        "changes of a Postgres database from its write-ahead log, with a snapshot of what exists";
    type Config = Config;
    type Source = PostgresSource;

    fn build(config: Config, info: &SourceInfo) -> Result<PostgresSource, BuildError> {
        PostgresSource::new(config, info)
    }

    fn command() -> Option<clap::Command> {
        Some(command::command())
    }

    fn run_command<'a>(
        matches: &'a clap::ArgMatches,
        cx: CommandContext<'a>,
    ) -> BoxFuture<'a, CommandOutcome> {
        Box::pin(command::run(matches, cx))
    }
}
