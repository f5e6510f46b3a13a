//! `headgate webhook verify|sign|send|recheck`: for somebody whose signatures fail, and for everybody whose vendor has no test
//! button.

mod examples;
mod options;
mod recheck;
mod schemes;
mod send;
mod sign;
mod verify;

pub(crate) use examples::examples;

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use headgate_sdk::command::{CommandContext, CommandOutcome};

/// What can be done with a webhook.
#[derive(Debug, Subcommand)]
enum Action {
    /// Check a request's signature and explain a failure. Prints `valid` (exit 0) or `invalid: why` (exit 1) first.
    Verify(verify::Options),
    /// Print a signed request, for any scheme with a shared secret or a local private key.
    Sign(sign::Options),
    /// Sign a request and post it; with --repeat a small load tool.
    Send(send::Options),
    /// Verify the requests again that a source has in quarantine, after its secret was mended.
    Recheck(recheck::Options),
    /// List the schemes of vendors that are known by name.
    Schemes(schemes::Options),
}

/// The command, for the gateway's own command line.
#[must_use]
pub fn command() -> Command {
    let command = Command::new("webhook")
        .about("Check, sign and send webhooks")
        .subcommand_required(true)
        .arg_required_else_help(true);
    Action::augment_subcommands(command)
}

/// Runs what [`command`] parsed.
pub async fn run(matches: &ArgMatches, cx: CommandContext<'_>) -> CommandOutcome {
    let action = match Action::from_arg_matches(matches) {
        Ok(action) => action,
        Err(error) => return CommandOutcome::Usage(error.to_string()),
    };
    let outcome = match action {
        Action::Verify(options) => verify::run(&options, &cx),
        Action::Sign(options) => sign::run(&options, &cx),
        Action::Send(options) => send::run(&options, &cx).await,
        Action::Recheck(options) => recheck::run(&options, &cx).await,
        Action::Schemes(options) => schemes::run(&options),
    };
    outcome.unwrap_or_else(|error| error)
}

/// `Err` carries how the command ended early.
type Outcome = Result<CommandOutcome, CommandOutcome>;

/// Prints a line of data. A reader that went away is no error.
fn print(line: impl std::fmt::Display) {
    use std::io::Write as _;
    let _gone = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests;
