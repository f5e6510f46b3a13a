//! `headgate postgres check|setup|drop`.

use clap::{Arg, ArgAction, ArgMatches};
use headgate_sdk::command::{CommandContext, CommandOutcome, ConfiguredSource};

use crate::{
    config::{Checked, Config},
    control::{
        Client, Finding, Plan, SqlError, Weight, check, drop_plan, server_facts, setup_plan,
        with_remedy,
    },
    replication::Server,
};

/// The subcommands.
pub(crate) fn command() -> clap::Command {
    let source = Arg::new("source").help("Only this source; all Postgres sources without it");
    let admin = Arg::new("as")
        .long("as")
        .value_name("URL")
        .help("Connect as this role instead of the source's own, e.g. the owner of the tables");
    let dry_run = Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Print the SQL and change nothing");
    clap::Command::new("postgres")
        .about("Checks and prepares Postgres servers")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            clap::Command::new("check")
                .about("Says what is missing, with the SQL that mends it")
                .arg(source.clone())
                .arg(admin.clone()),
        )
        .subcommand(
            clap::Command::new("setup")
                .about("Creates publication and slot")
                .arg(source.clone())
                .arg(admin.clone())
                .arg(dry_run.clone()),
        )
        .subcommand(
            clap::Command::new("drop")
                .about("Removes slot and publication")
                .arg(source)
                .arg(admin)
                .arg(dry_run),
        )
}

/// Runs one.
pub(crate) async fn run(matches: &ArgMatches, cx: CommandContext<'_>) -> CommandOutcome {
    let Some((word, matches)) = matches.subcommand() else {
        return CommandOutcome::Usage("headgate postgres check|setup|drop [SOURCE]".into());
    };
    let sources = match (cx.sources)() {
        Ok(sources) => sources,
        Err(outcome) => return outcome,
    };
    let wanted = matches.get_one::<String>("source");
    let mut all = Vec::new();
    for source in &sources {
        match read(source, matches.get_one::<String>("as")) {
            Ok(checked) => all.push((source, checked)),
            Err(message) => return CommandOutcome::Failed(message),
        }
    }
    let slots: Vec<String> = all.iter().map(|(_, c)| c.slot.clone()).collect();
    let chosen: Vec<_> = all
        .iter()
        .filter(|(source, _)| wanted.is_none_or(|wanted| source.info.name == wanted.as_str()))
        .collect();
    if chosen.is_empty() {
        return CommandOutcome::Usage(match wanted {
            Some(name) => format!("the configuration has no Postgres source `{name}`"),
            None => "the configuration has no Postgres source".into(),
        });
    }
    let mut outcome = CommandOutcome::Fine;
    for (source, checked) in chosen {
        let done = match word {
            "check" => run_check(source, checked, &slots).await,
            _ => run_plan(word, matches.get_flag("dry-run"), source, checked).await,
        };
        match done {
            Ok(true) => {}
            Ok(false) => outcome = CommandOutcome::Wrong,
            Err(message) => {
                return CommandOutcome::Failed(format!("{}: {message}", source.info.name));
            }
        }
    }
    outcome
}

fn read(source: &ConfiguredSource, admin: Option<&String>) -> Result<Checked, String> {
    let config: Config =
        serde_json::from_value(source.config.clone()).map_err(|error| error.to_string())?;
    let ca = config.ca.clone();
    let mut checked = Checked::new(config, &source.info).map_err(|error| error.to_string())?;
    if let Some(url) = admin {
        checked.server = Server::parse(url, ca, "headgate")?;
    }
    Ok(checked)
}

async fn run_check(
    source: &ConfiguredSource,
    checked: &Checked,
    slots: &[String],
) -> Result<bool, String> {
    let mut client = Client::new(checked.server.clone());
    let findings = check(&mut client, checked, &source.info.group, slots)
        .await
        .map_err(|error| explained(checked, &error))?;
    print!("{}", render(&source.info.name, &findings));
    Ok(!findings.iter().any(|f| f.weight == Weight::Wrong))
}

/// Findings as text: one line each, remedies indented below.
pub(crate) fn render(source: &str, findings: &[Finding]) -> String {
    let mut text = format!("{source}\n");
    for finding in findings {
        let word = match finding.weight {
            Weight::Fine => "ok     ",
            Weight::Warning => "warning",
            Weight::Wrong => "wrong  ",
        };
        text.push_str(&format!("  {word}  {}\n", finding.text));
        for remedy in finding.remedy.iter().filter(|remedy| !remedy.is_empty()) {
            text.push_str(&format!("           {remedy}\n"));
        }
    }
    text
}

async fn run_plan(
    word: &str,
    dry_run: bool,
    source: &ConfiguredSource,
    checked: &Checked,
) -> Result<bool, String> {
    let mut client = Client::new(checked.server.clone());
    let plan: Plan = if word == "setup" {
        let facts = server_facts(&mut client)
            .await
            .map_err(|error| explained(checked, &error))?;
        setup_plan(&mut client, checked, &facts)
            .await
            .map_err(|error| explained(checked, &error))?
    } else {
        drop_plan(&mut client, checked)
            .await
            .map_err(|error| explained(checked, &error))?
    };
    if plan.statements.is_empty() {
        eprintln!("{}: nothing to do", source.info.name);
        return Ok(true);
    }
    if dry_run {
        for statement in &plan.statements {
            println!("{statement};");
        }
        return Ok(true);
    }
    // What stands on the output was done.
    plan.run(&mut client, |statement| println!("{statement};"))
        .await
        .map(|()| true)
        .map_err(|(statement, error)| {
            let hint = match error.code.as_deref() {
                Some("42501") => {
                    ": run it with `--as postgres://…`, the owner of the tables (a slot needs REPLICATION, an event trigger a superuser)"
                }
                Some("55006") => ": stop whatever uses the slot first (the source, if it runs)",
                Some("55000") if statement.contains("slot") => {
                    ": `headgate postgres check` says which setting of the server is missing"
                }
                _ => "",
            };
            format!("{error}{hint}; what was not done: {statement};")
        })
}

/// The error with the server's address and what mends it.
fn explained(checked: &Checked, error: &SqlError) -> String {
    let message = format!("{}: {error}", checked.server.address());
    with_remedy(error.code.as_deref(), &message)
}
