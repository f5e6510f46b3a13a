//! `headgate completions`

use clap_complete::Shell;

use super::Context;
use super::exit::Done;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "headgate", &mut script);
    Ok(context
        .out
        .line(String::from_utf8_lossy(&script).trim_end())?)
}
