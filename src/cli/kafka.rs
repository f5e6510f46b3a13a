//! `headgate kafka`

use super::Context;
use super::exit::{Done, Failure};
use super::output::Colour;
use crate::config::{Loader, Sink};
use crate::sink;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Asks the clusters of all sinks of this type whether they answer and let Headgate in. Writes nothing.
    Check,
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let Command::Check = args.command;
    let config = Loader::new().load(&context.file)?.config;
    let mut ends = Vec::new();
    for configured in &config.sinks {
        ends.extend(check(configured, context).await);
    }
    if ends.is_empty() {
        let file = context.file.display();
        return Err(Failure::usage(format!(
            "no sink of {file} has `type: kafka`; add one under `sinks`"
        )));
    }
    Failure::worst(ends)
}

/// Asks the servers of one sink, and says what they answer. `None`: it has none.
pub(super) async fn check(configured: &Sink, context: &Context) -> Option<Done> {
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
