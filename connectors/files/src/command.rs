//! `headgate files status`.

use std::fmt::Write as _;

use headgate_sdk::{
    Timestamp,
    command::{AccessError, CommandContext, CommandOutcome, GatewayAccess},
};
use serde_json::json;

use crate::{source::Figures, state::FileState};

const PAGE: usize = 1000;

/// The command line.
pub(crate) fn definition() -> clap::Command {
    clap::Command::new("files")
        .about("Watched folders")
        .subcommand_required(true)
        .subcommand(
            clap::Command::new("status")
                .about("Counts files by state, and names the oldest and the failed ones")
                .arg(clap::Arg::new("source").help("Only this source"))
                .arg(
                    clap::Arg::new("json")
                        .long("json")
                        .action(clap::ArgAction::SetTrue)
                        .help("One JSON object a source and line"),
                ),
        )
}

/// Runs it.
pub(crate) async fn run(matches: &clap::ArgMatches, cx: CommandContext<'_>) -> CommandOutcome {
    let Some(("status", matches)) = matches.subcommand() else {
        return CommandOutcome::Usage("write `headgate files status`".into());
    };
    let wanted = matches.get_one::<String>("source");
    let sources = match (cx.sources)() {
        Ok(sources) => sources,
        Err(outcome) => return outcome,
    };
    let mut names: Vec<_> = sources
        .iter()
        .map(|source| source.info.name.as_str())
        .filter(|name| wanted.is_none_or(|wanted| wanted == name))
        .collect();
    names.sort_unstable();
    if let Some(wanted) = wanted
        && names.is_empty()
    {
        return CommandOutcome::Usage(format!(
            "the configuration has no source `{wanted}` of type `files`"
        ));
    }
    for name in names {
        let figures = match figures(cx.gateway, name).await {
            Ok(figures) => figures,
            Err(error) => return CommandOutcome::Failed(format!("{name}: {error}")),
        };
        if matches.get_flag("json") {
            println!("{}", json!({ "source": name, "files": figures }));
        } else {
            print!("{}", render(name, &figures, Timestamp::now().as_second()));
        }
    }
    CommandOutcome::Fine
}

/// From the running source, else from what is stored.
async fn figures(gateway: &dyn GatewayAccess, source: &str) -> Result<Figures, AccessError> {
    match gateway.control(source, "status", json!({})).await {
        Ok(value) => serde_json::from_value(value)
            .map_err(|error| AccessError::Io(format!("the answer cannot be read: {error}"))),
        Err(AccessError::NotRunning) => stored(gateway, source).await,
        Err(error) => Err(error),
    }
}

async fn stored(gateway: &dyn GatewayAccess, source: &str) -> Result<Figures, AccessError> {
    let mut figures = Figures::default();
    for lane in gateway.lanes(source).await? {
        let mut after = None;
        loop {
            let page = gateway.entries(&lane, "f/", after.as_deref(), PAGE).await?;
            for (key, value) in &page {
                figures.add_entry(key, value);
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => break,
            }
        }
    }
    Ok(figures)
}

fn render(source: &str, figures: &Figures, now: i64) -> String {
    let mut out = String::new();
    let note = if figures.running {
        ""
    } else {
        " (not running: only what is stored)"
    };
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _infallible = writeln!(out, "{text}");
    };
    line(format_args!("{source}{note}"));
    for state in FileState::ALL {
        let live = matches!(
            state,
            FileState::Discovered | FileState::Stable | FileState::Published
        );
        let figure = figures.states.get(state.word());
        if figure.is_none() && (state == FileState::Gone || (live && !figures.running)) {
            continue;
        }
        let figure = figure.cloned().unwrap_or_default();
        let oldest = match (&figure.oldest, figure.oldest_since) {
            (Some(path), Some(since)) => format!("  oldest {} ago: {path}", age(now - since)),
            _ => String::new(),
        };
        line(format_args!(
            "  {:<13}{:>9}{oldest}",
            state.word(),
            figure.count
        ));
    }
    if figures.duplicates > 0 {
        line(format_args!("  duplicates   {:>9}", figures.duplicates));
    }
    for failed in &figures.failed {
        line(format_args!(
            "  failed {} ago: {}",
            age(now - failed.since),
            failed.path
        ));
        line(format_args!("    {}", failed.reason));
    }
    out
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        ledger::{self, FileEntry},
        stamp::Stamp,
    };

    fn entry(state: FileState, since: i64, why: Option<&str>) -> Bytes {
        let entry = FileEntry {
            state,
            since,
            stamp: Stamp {
                inode: 1,
                size: 1,
                modified: 0,
                changed: 0,
            },
            hash: "00".into(),
            id: None,
            duplicate: false,
            why: why.map(Into::into),
        };
        ledger::put("f/x".into(), &entry).value.unwrap()
    }

    #[test]
    fn the_table_names_the_oldest_and_the_failed() {
        let mut figures = Figures::default();
        figures.add_entry("f//in/a.pdf", &entry(FileState::Acknowledged, 9_000, None));
        figures.add_entry("f//in/b.pdf", &entry(FileState::Acknowledged, 8_000, None));
        figures.add_entry(
            "f//in/c.csv.gz",
            &entry(
                FileState::Failed,
                9_990,
                Some("the compressed file ends too early"),
            ),
        );
        insta::assert_snapshot!(render("invoices", &figures, 10_000), @"
        invoices (not running: only what is stored)
          acknowledged         2  oldest 33 min ago: /in/b.pdf
          archived             0
          failed               1  oldest 10 s ago: /in/c.csv.gz
          failed 10 s ago: /in/c.csv.gz
            the compressed file ends too early
        ");
    }

    #[test]
    fn the_command_line_parses() {
        let matches = definition()
            .try_get_matches_from(["files", "status", "invoices", "--json"])
            .unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        assert!(matches.get_flag("json"));
    }
}
