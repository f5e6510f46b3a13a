//! What the gateway knows of this connector.

use clap::{ArgMatches, Command};
use futures::future::BoxFuture;
use headgate_sdk::{
    BuildError, Connector, Example, ExampleContext, Problem, SourceInfo,
    command::{CommandContext, CommandOutcome},
};

use crate::{
    command,
    source::{self, Config, WebhookSource},
};

/// The connector.
#[derive(Debug)]
pub struct Webhook;

impl Connector for Webhook {
    const NAME: &'static str = "webhook";
    const SUMMARY: &'static str =
        "Takes vendors' webhooks: verified, deduplicated, durable before they are answered";
    type Config = Config;
    type Source = WebhookSource;

    fn build(config: Config, info: &SourceInfo) -> Result<WebhookSource, BuildError> {
        WebhookSource::build(config, info)
    }

    fn http_paths(config: &Config, info: &SourceInfo) -> Vec<String> {
        source::paths(config, info)
    }

    fn warnings(config: &Config, info: &SourceInfo) -> Vec<Problem> {
        source::warnings(config, info)
    }

    fn examples(config: &Config, cx: &ExampleContext<'_>) -> Vec<Example> {
        command::examples(config, cx)
    }

    fn command() -> Option<Command> {
        Some(command::command())
    }

    fn run_command<'a>(
        matches: &'a ArgMatches,
        cx: CommandContext<'a>,
    ) -> BoxFuture<'a, CommandOutcome> {
        Box::pin(command::run(matches, cx))
    }
}
