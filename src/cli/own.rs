//! Commands of connectors and sinks: `headgate postgres check`, `headgate kafka check` and the like, mounted from the registries.

use std::path::Path;

use clap::ArgMatches;
use headgate_sdk::Str;
use headgate_sdk::command::{CommandContext, CommandOutcome, ConfiguredSource};

use super::Context;
use super::access::{Access, from_here};
use super::exit::{Done, Failure};
use crate::config::{Config, LoadError, Loader};
use crate::connectors::{Registration, registry};
use crate::sink::command::{SinkCommand, SinkCommandContext, commands as sinks};

/// The commands of all connectors that have some.
pub(super) fn commands() -> impl Iterator<Item = clap::Command> {
    let of_connectors = registry()
        .iter()
        .filter_map(|connector| Some((connector.command)()?.name(connector.name)));
    let of_sinks = sinks()
        .iter()
        .map(|sink| (sink.definition)().name(sink.kind));
    of_connectors.chain(of_sinks)
}

/// Whose command it is.
#[derive(Clone, Copy)]
pub(super) enum Owner {
    Connector(Registration),
    Sink(SinkCommand),
}

/// Whom a command line names, and what it says to it.
pub(super) fn find(matches: &ArgMatches) -> Option<(Owner, &ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    let connector = registry().iter().find(|connector| connector.name == name);
    let sink = sinks().iter().find(|sink| sink.kind == name);
    let owner = match (connector, sink) {
        (Some(connector), _) => Owner::Connector(*connector),
        (None, Some(sink)) => Owner::Sink(*sink),
        (None, None) => return None,
    };
    Some((owner, matches))
}

/// Runs such a command.
pub(super) async fn run(owner: Owner, matches: &ArgMatches, context: &Context) -> Done {
    match owner {
        Owner::Connector(connector) => run_connector(connector, matches, context).await,
        Owner::Sink(sink) => {
            let config = || load(&context.file);
            let cx = SinkCommandContext { config: &config };
            Failure::of((sink.run)(matches, cx).await)
        }
    }
}

pub(super) async fn run_connector(
    connector: Registration,
    matches: &ArgMatches,
    context: &Context,
) -> Done {
    let sources = || sources(&context.file, connector);
    let access = Access::new(&context.file);
    let cx = CommandContext {
        sources: &sources,
        gateway: &access,
    };
    Failure::of((connector.run_command)(matches, cx).await)
}

/// The configured sources of a connector; the configuration is loaded only when they are asked for.
fn sources(file: &Path, connector: Registration) -> Result<Vec<ConfiguredSource>, CommandOutcome> {
    let config = load(file)?;
    let instance = Str::new_static("unknown");
    let http_url = format!("http://{}", from_here(config.globals.http.listen));
    let own = config
        .sources
        .iter()
        .filter(|source| source.connector.name == connector.name);
    Ok(own
        .map(|source| ConfiguredSource {
            info: config.source_info(source, &instance),
            config: source.keys.expose().clone(),
            http_url: http_url.clone(),
        })
        .collect())
}

fn load(file: &Path) -> Result<Config, CommandOutcome> {
    match Loader::new().load(file) {
        Ok(loaded) => Ok(loaded.config),
        Err(LoadError::Invalid(error)) => Err(CommandOutcome::Failed(format!(
            "the configuration is wrong; `headgate validate` says where\n{error}"
        ))),
        Err(error) => Err(CommandOutcome::Failed(error.to_string())),
    }
}
