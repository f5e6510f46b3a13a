//! `headgate checkpoints`

use super::Context;
use super::access::gateway;
use super::exit::{Done, Failure};
use crate::admin::NewPosition;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Shows where lanes resume.
    Show {
        /// Only the lanes of this source.
        source: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Moves a lane, while its source does not run. Going back sends events again, with the same ids; going forward leaves
    /// events out.
    Set {
        /// The lane, as `show` names it.
        lane: String,
        /// The position, JSON as `show` prints it.
        position: String,
    },
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let gateway = gateway(&context.file).await?;
    match args.command {
        Command::Show { source, json } => {
            let checkpoints = gateway.checkpoints(source.as_deref()).await?;
            if json {
                return Ok(context.out.json(&checkpoints)?);
            }
            let mut rows = vec![["LANE", "POSITION"].map(str::to_owned).to_vec()];
            rows.extend(
                checkpoints.iter().map(|checkpoint| {
                    vec![checkpoint.lane.clone(), checkpoint.position.to_string()]
                }),
            );
            context.out.table(&rows)?;
        }
        Command::Set { lane, position } => {
            let position = serde_json::from_str(&position).map_err(|error| {
                Failure::usage(format!("the position is not JSON: {error}; `headgate checkpoints show` prints them in their form"))
            })?;
            gateway
                .set_checkpoint(&NewPosition {
                    lane: lane.clone(),
                    position,
                })
                .await?;
            context.out.note(&format!("{lane}: moved"));
        }
    }
    Ok(())
}
