//! Connectors' own commands: `headgate postgres check` and the like, mounted from the registry.

use std::path::Path;

use clap::ArgMatches;
use headgate_sdk::Str;
use headgate_sdk::command::{CommandContext, CommandOutcome, ConfiguredSource};

use super::Context;
use super::access::{Access, from_here};
use super::exit::{Done, Failure};
use crate::config::{LoadError, Loader};
use crate::connectors::{Registration, registry};

/// The commands of all connectors that have some.
pub(super) fn commands() -> impl Iterator<Item = clap::Command> {
    registry()
        .iter()
        .filter_map(|connector| Some((connector.command)()?.name(connector.name)))
}

/// The connector that a command line names, and what it says to it.
pub(super) fn find(matches: &ArgMatches) -> Option<(Registration, &ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    let connector = registry().iter().find(|connector| connector.name == name)?;
    Some((*connector, matches))
}

/// Runs a connector's command.
pub(super) async fn run(connector: Registration, matches: &ArgMatches, context: &Context) -> Done {
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
    let config = match Loader::new().load(file) {
        Ok(loaded) => loaded.config,
        Err(LoadError::Invalid(error)) => {
            return Err(CommandOutcome::Failed(format!(
                "the configuration is wrong; `headgate validate` says where\n{error}"
            )));
        }
        Err(error) => return Err(CommandOutcome::Failed(error.to_string())),
    };
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
