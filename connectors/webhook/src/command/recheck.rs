//! `headgate webhook recheck`.

use clap::Args;
use headgate_sdk::command::{CommandContext, CommandOutcome};
use serde_json::json;

use super::{Outcome, print};

/// Verifies quarantined requests again.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The source.
    source: String,
    /// Only say what would pass.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(options: &Options, cx: &CommandContext<'_>) -> Outcome {
    let arguments = json!({ "dry_run": options.dry_run });
    let answer = cx
        .gateway
        .control(&options.source, "recheck", arguments)
        .await
        .map_err(|error| CommandOutcome::Failed(error.to_string()))?;
    let count = |name: &str| {
        answer
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    print(format_args!(
        "{} accepted, {} still refused, {} undecided",
        count("accepted"),
        count("refused"),
        count("undecided")
    ));
    Ok(match count("refused") + count("undecided") {
        0 => CommandOutcome::Fine,
        _ => CommandOutcome::Wrong,
    })
}
