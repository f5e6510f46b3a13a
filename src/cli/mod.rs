//! The command line: one file per command of the gateway; connectors bring their own.
//!
//! What scripts depend on: exit code 0 is fine, 1 means that what was checked is wrong, 2 that the command line is, 3 that it
//! could not be done. Data goes to standard output, everything else to standard error. Colours appear on terminals only (with
//! `FORCE_COLOR` everywhere), and not with `NO_COLOR`.

mod access;
mod checkpoints;
mod completions;
mod connectors;
mod dead_letters;
mod exit;
mod init;
mod output;
mod own;
mod reference;
mod reload;
mod replay;
mod run;
mod schema;
mod sources;
mod status;
mod tail;
mod test;
mod trace;
mod validate;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::DEFAULT_FILE;
use exit::{Done, Failure};
use output::Output;

/// The one door through which events enter a company: webhooks, watched folders, Postgres and MongoDB, to Kafka or an embedded
/// log.
#[derive(Parser)]
#[command(
    name = "headgate",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    /// The configuration file.
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true, default_value = DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM or SIGINT.
    Run(run::Args),
    /// Checks a configuration without starting anything.
    Validate(validate::Args),
    /// Tries a configuration on events, against what is expected to come out.
    Test(test::Args),
    /// Writes a commented configuration to start from.
    Init(init::Args),
    /// Shows how the gateway, its sources and its sinks are.
    Status(status::Args),
    /// Lists, pauses, resumes or restarts sources, or asks one for a snapshot.
    Sources(sources::Args),
    /// Shows or moves the places where lanes resume.
    Checkpoints(checkpoints::Args),
    /// Reads the configuration again and swaps what changed.
    Reload,
    /// Reads the embedded log.
    Tail(tail::Args),
    /// Says where an event is: received when, delivered to where, how often tried, dead-lettered why.
    Trace(trace::Args),
    /// Delivers events once more that were accepted or delivered before.
    Replay(replay::Args),
    /// Lists, shows, retries or discards events that could not be delivered.
    DeadLetters(dead_letters::Args),
    /// Prints the generated schemas and references.
    Schema(schema::Args),
    /// Lists the connectors, or the keys of one.
    Connectors(connectors::Args),
    /// Prints a completion script for a shell.
    Completions(completions::Args),
}

/// What every command knows.
struct Context {
    file: PathBuf,
    out: Output,
}

/// Runs the command that `arguments` name, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let _closed = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::failed(format!(
                "cannot start threads: {error}; check the limits of this user"
            ))
            .exit();
        }
    };
    let done = runtime.block_on(async {
        let file = matches
            .get_one::<PathBuf>("config")
            .cloned()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let context = Context {
            file,
            out: Output::standard(),
        };
        match own::find(&matches) {
            Some((owner, matches)) => own::run(owner, matches, &context).await,
            None => match Cli::from_arg_matches(&matches) {
                Ok(cli) => run(cli.command, context).await,
                Err(error) => Err(Failure::usage(error.to_string())),
            },
        }
    });
    // Reading standard input, or a lock, may hold a thread of the runtime: nobody waits for it.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

/// The whole command line, connectors' own commands included.
fn command() -> clap::Command {
    Cli::command().subcommands(own::commands())
}

async fn run(command: Command, context: Context) -> Done {
    match command {
        Command::Run(args) => run::run(args, &context).await,
        Command::Validate(args) => validate::run(args, &context).await,
        Command::Test(args) => test::run(&args, &context),
        Command::Init(args) => init::run(&args, &context),
        Command::Status(args) => status::run(args, &context).await,
        Command::Sources(args) => sources::run(args, &context).await,
        Command::Checkpoints(args) => checkpoints::run(args, &context).await,
        Command::Reload => reload::run(&context).await,
        Command::Tail(args) => tail::run(args, &context).await,
        Command::Trace(args) => trace::run(args, &context).await,
        Command::Replay(args) => replay::run(args, &context).await,
        Command::DeadLetters(args) => dead_letters::run(args, &context).await,
        Command::Schema(args) => schema::run(&args, &context),
        Command::Connectors(args) => connectors::run(&args, &context),
        Command::Completions(args) => completions::run(&args, &context),
    }
}
