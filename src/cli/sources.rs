//! `headgate sources`

use super::Context;
use super::access::gateway;
use super::exit::{Done, Failure};
use super::status::show_components;
use crate::admin::{Snapshot, SourceAction};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists the sources and how they are.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lets a source take nothing in while it stays connected.
    Pause {
        /// Its name.
        source: String,
    },
    /// Lets a paused source go on.
    Resume {
        /// Its name.
        source: String,
    },
    /// Ends the present run of a source and starts a new one, also after it failed for good.
    Restart {
        /// Its name.
        source: String,
    },
    /// Asks a source to read what is there already.
    Snapshot {
        /// Its name.
        source: String,
        /// Only this table.
        #[arg(long)]
        table: Option<String>,
        /// Only this collection.
        #[arg(long, conflicts_with = "table")]
        collection: Option<String>,
        /// Only what matches this filter, in the source's own language.
        #[arg(long = "where", value_name = "FILTER")]
        filter: Option<String>,
    },
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let gateway = gateway(&context.file).await?;
    let (source, action) = match args.command {
        Command::List { json } => {
            let status = gateway.status().await?;
            match json {
                true => context.out.json(&status.sources)?,
                false => show_components(context.out, "SOURCE", &status.sources)?,
            }
            return Ok(());
        }
        Command::Snapshot {
            source,
            table,
            collection,
            filter,
        } => {
            let wanted = Snapshot {
                table,
                collection,
                filter,
            };
            let wanted =
                serde_json::to_value(&wanted).map_err(|error| Failure::usage(error.to_string()))?;
            let answer = gateway.control(&source, "snapshot", wanted).await?;
            return Ok(context.out.json(&answer)?);
        }
        Command::Pause { source } => (source, SourceAction::Pause),
        Command::Resume { source } => (source, SourceAction::Resume),
        Command::Restart { source } => (source, SourceAction::Restart),
    };
    gateway.act(&source, action).await?;
    let done = match action {
        SourceAction::Pause => "paused",
        SourceAction::Resume => "resumed",
        SourceAction::Restart => "restarted",
    };
    context.out.note(&format!("{source}: {done}"));
    Ok(())
}
