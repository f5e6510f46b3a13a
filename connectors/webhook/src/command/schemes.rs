//! `headgate webhook schemes`.

use clap::Args;
use headgate_sdk::command::CommandOutcome;

use super::{Outcome, print};
use crate::presets;

/// Lists the presets.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Print the whole reference table, as Markdown.
    #[arg(long)]
    markdown: bool,
}

pub(super) fn run(options: &Options) -> Outcome {
    if options.markdown {
        print(presets::reference().trim_end());
    } else {
        for (name, preset) in presets::all() {
            print(format_args!("{name:<28} {}", preset.title));
        }
    }
    Ok(CommandOutcome::Fine)
}
