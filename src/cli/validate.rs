//! `headgate validate`

use super::exit::{Done, Failure};
use super::output::Colour;
use super::{Context, own};
use crate::config::{Config, Loader, Sink};
use crate::connectors::registry;
use crate::sink;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also ask the servers: those that the sources read from, with each connector's `check`, and those of the sinks.
    #[arg(long)]
    connect: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let loaded = Loader::new().load(&context.file)?;
    for warning in &loaded.warnings {
        context.out.note(&format!("{warning} (warning)"));
    }
    let checked = if args.connect {
        connect(&loaded.config, context).await
    } else {
        Ok(())
    };
    let config = &loaded.config;
    let counts = format!(
        "{}: fine: {}, {}, {}",
        context.file.display(),
        count(config.sources.len(), "source"),
        count(config.pipelines.len(), "pipeline"),
        count(config.sinks.len(), "sink"),
    );
    checked?;
    context
        .out
        .line(&context.out.paint(Colour::Good, &counts))?;
    Ok(())
}

fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// Runs `check` of every connector that has one and is used, then asks the sinks. Goes on after a failure, and ends with the worst.
async fn connect(config: &Config, context: &Context) -> Done {
    let mut ends = Vec::new();
    for connector in registry() {
        let used = config
            .sources
            .iter()
            .any(|source| source.connector.name == connector.name);
        let Some(command) = (connector.command)()
            .filter(|command| used && command.find_subcommand("check").is_some())
        else {
            continue;
        };
        let matches = command
            .try_get_matches_from([connector.name, "check"])
            .map_err(|error| Failure::usage(error.to_string()))?;
        let end = own::run_connector(*connector, &matches, context).await;
        ends.push(end.inspect_err(Failure::say));
    }
    for configured in &config.sinks {
        ends.extend(ask(configured, context).await);
    }
    Failure::worst(ends)
}

/// Asks the servers of one sink, and says what they answer. `None`: it has none.
async fn ask(configured: &Sink, context: &Context) -> Option<Done> {
    let answer = sink::check(configured).await?;
    let name = &configured.name;
    Some(match answer {
        Ok(()) => context
            .out
            .line(&context.out.paint(
                Colour::Good,
                &format!("{name}: the cluster answers and lets us in"),
            ))
            .map_err(Failure::from),
        Err(error) => {
            Err(Failure::failed(format!("sink `{name}`: {error}"))).inspect_err(Failure::say)
        }
    })
}
