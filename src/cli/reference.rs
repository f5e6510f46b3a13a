//! The reference page of the command line, written from the definitions that parse it.

use std::fmt::Write as _;

use clap::{Arg, Command};

const INTRODUCTION: &str = "\
<!-- Generated from the command line's own definitions by `headgate schema --commands`; do not edit. -->

# The command line

Every command takes `-c FILE` (default `./headgate.yaml`). Data goes to standard output, everything else to standard error. Colours
appear on terminals only (with `FORCE_COLOR` everywhere, for CI), and not with `NO_COLOR`. `HEADGATE_LOG` sets how much `run` logs: a level (`info`), or levels by part
(`info,headgate::journal=debug`).

| exit code | meaning |
|---|---|
| 0 | fine |
| 1 | what was checked is wrong |
| 2 | the command line is wrong |
| 3 | it could not be done: a server is away, a file cannot be read or written |

Commands that touch state speak to the running gateway on `admin.listen`; where none runs, those that only read or move what is
stored open `data_dir` under its lock.
";

/// The page as Markdown.
pub(super) fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut whole = super::command();
    whole.build();
    for command in whole
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        describe(command, "headgate", 2, &mut text);
    }
    text
}

fn describe(command: &Command, parent: &str, level: usize, text: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    let positional: String = command
        .get_positionals()
        .map(|argument| format!(" {}", value(argument)))
        .collect();
    let _ = writeln!(text, "\n{} `{name}{positional}`\n", "#".repeat(level));
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        let _ = writeln!(text, "{}", sentence(&about.to_string()));
    }
    let documented = |argument: &&Arg| {
        !argument.is_hide_set()
            && !matches!(argument.get_id().as_str(), "help" | "version" | "config")
    };
    let mut arguments = command.get_arguments().filter(documented).peekable();
    if arguments.peek().is_some() {
        text.push_str("\n| argument | |\n|---|---|\n");
        for argument in arguments {
            let help = argument
                .get_long_help()
                .or_else(|| argument.get_help())
                .map(ToString::to_string)
                .unwrap_or_default();
            let help = sentence(&help).replace('|', "\\|");
            let default: Vec<String> = argument
                .get_default_values()
                .iter()
                .map(|default| format!("`{}`", default.to_string_lossy()))
                .collect();
            let takes_value = argument.get_action().takes_values();
            let default = match default.as_slice() {
                [] => String::new(),
                _ if !takes_value => String::new(),
                values => format!(" Default: {}.", values.join(", ")),
            };
            let _ = writeln!(text, "| `{}` | {help}{default} |", written(argument));
        }
    }
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        describe(inner, &name, level + 1, text);
    }
}

/// One line that ends in a full stop.
fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.as_str() {
        "" => String::new(),
        text if text.ends_with(['.', '?', '!']) => text.to_owned(),
        text => format!("{text}."),
    }
}

fn written(argument: &Arg) -> String {
    let names: Vec<String> = argument
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .chain(argument.get_long().map(|long| format!("--{long}")))
        .collect();
    match (names.is_empty(), argument.get_action().takes_values()) {
        (true, _) => value(argument),
        (false, true) => format!("{} {}", names.join(", "), value(argument)),
        (false, false) => names.join(", "),
    }
}

fn value(argument: &Arg) -> String {
    let name = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map_or_else(
            || argument.get_id().to_string().to_uppercase(),
            ToString::to_string,
        );
    let several = argument
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    let name = if several { format!("{name}…") } else { name };
    if argument.is_positional() && !argument.is_required_set() {
        format!("[{name}]")
    } else {
        name
    }
}
