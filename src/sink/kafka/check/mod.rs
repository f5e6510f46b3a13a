//! `headgate kafka check`: asks the cluster everything that the sink needs, and says which commands mend what is missing.
//!
//! It changes nothing, except that with `delivery: exactly_once` it registers the transactional id `{group}-check` with the
//! coordinator, which is how a missing permission or a refused timeout shows.

mod ask;
mod judge;
mod permissions;
mod report;
mod rights;

use std::time::Duration;

use headgate_sdk::{
    command::CommandOutcome,
    config::{ByteSize, HumanDuration},
};
use serde::Deserialize;

use super::Config;
use crate::{
    pipeline::Step,
    sink::{Kind, command::SinkCommandContext},
};
use judge::Wishes;
use report::Report;

/// What a partition is counted on to carry.
const PARTITION_BYTES: u64 = 10_000_000;

/// The command line.
pub(crate) fn definition() -> clap::Command {
    let size = |name: &'static str, help: &'static str| {
        clap::Arg::new(name)
            .long(name)
            .value_name("SIZE")
            .value_parser(parse::<ByteSize>)
            .help(help)
    };
    clap::Command::new("kafka")
        .about("Kafka as a sink")
        .subcommand_required(true)
        .subcommand(
            clap::Command::new("check")
                .about("Checks topics, permissions and limits of the configured sinks' clusters, and prints the commands that mend them")
                .arg(clap::Arg::new("sink").help("Only this sink"))
                .arg(
                    clap::Arg::new("topic")
                        .long("topic")
                        .value_name("NAME")
                        .action(clap::ArgAction::Append)
                        .help("These topics, instead of those that the configuration names"),
                )
                .arg(size("peak", "The most bytes a second that one topic has to take: are there partitions enough?"))
                .arg(size("per-partition", "What one partition is counted on to take of that, a second; 10MB if not said"))
                .arg(
                    clap::Arg::new("recovery")
                        .long("recovery")
                        .value_name("TIME")
                        .value_parser(parse::<HumanDuration>)
                        .help("How long consumers may be away without missing anything: is retention long enough?"),
                ),
        )
}

/// Reads a value as the configuration would.
fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text))
        .map_err(|error| error.to_string())
}

/// Runs it.
pub(crate) async fn run(matches: &clap::ArgMatches, cx: SinkCommandContext<'_>) -> CommandOutcome {
    let Some(("check", matches)) = matches.subcommand() else {
        return CommandOutcome::Usage("write `headgate kafka check`".into());
    };
    let pick = |kind| match kind {
        Kind::Kafka(config) => Some(*config),
        Kind::Log(_) | Kind::Stdout(_) => None,
    };
    let (configuration, sinks) = match cx.sinks(pick) {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let wanted = matches.get_one::<String>("sink");
    let chosen: Vec<(_, Config)> = sinks
        .into_iter()
        .filter(|(name, _)| wanted.is_none_or(|wanted| name == wanted))
        .collect();
    if chosen.is_empty() {
        return CommandOutcome::Usage(match wanted {
            Some(wanted) => format!("the configuration has no sink `{wanted}` of type `kafka`"),
            None => "the configuration has no sink of type `kafka`".into(),
        });
    }
    let bytes = |name| matches.get_one::<ByteSize>(name).map(|size| size.bytes());
    let topics = matches
        .get_many::<String>("topic")
        .map(|topics| topics.cloned().collect());
    let wishes = Wishes {
        topics: topics.unwrap_or_else(|| routed(configuration.pipelines.values().flatten())),
        group: configuration.globals.group.to_string(),
        shards: configuration.globals.shards.map(|shards| shards.get()),
        peak: bytes("peak"),
        per_partition: bytes("per-partition").unwrap_or(PARTITION_BYTES).max(1),
        recovery: matches
            .get_one::<HumanDuration>("recovery")
            .map(|time| time.get()),
    };
    let mut all_fine = true;
    for (name, config) in chosen {
        let wishes = wishes.clone();
        let checked = tokio::task::spawn_blocking(move || check(&config, &wishes)).await;
        match checked {
            Ok(Ok(report)) => {
                all_fine &= report.is_fine();
                print!("{name}\n{}", report.text());
            }
            Ok(Err(message)) => return CommandOutcome::Failed(format!("{name}: {message}")),
            Err(_) => return CommandOutcome::Failed(format!("{name}: the check stopped")),
        }
    }
    if all_fine {
        CommandOutcome::Fine
    } else {
        CommandOutcome::Wrong
    }
}

fn check(config: &Config, wishes: &Wishes) -> Result<Report, String> {
    let mut cluster = ask::Cluster::connect(config)?;
    let mut report = Report::new(config);
    let needed = permissions::needed(&cluster, config, wishes);
    let named: Vec<String> = needed.iter().map(|needed| needed.topic.clone()).collect();
    let unknown = cluster.ask_rights(&named).err();
    judge::topics(&cluster, config, wishes, &mut report)?;
    permissions::judge(&cluster, config, wishes, &needed, unknown, &mut report);
    judge::transactions(&cluster, config, wishes, &mut report)?;
    Ok(report)
}

/// The topics that routes name, with `*` where an event decides.
fn routed<'a>(steps: impl Iterator<Item = &'a Step>) -> Vec<String> {
    let mut topics = Vec::new();
    let routes = steps.filter_map(|step| match step {
        Step::Route(route) => Some(route.clone()),
        _ => None,
    });
    let mut routes: Vec<_> = routes.collect();
    if routes.is_empty() {
        routes.push(crate::pipeline::route::Config::default());
    }
    for route in &routes {
        let of_rules = route.rules.iter().filter_map(|rule| rule.topic.as_ref());
        for template in std::iter::once(&route.topic).chain(of_rules) {
            let pattern = template.pattern();
            if !topics.contains(&pattern) {
                topics.push(pattern);
            }
        }
    }
    topics
}

/// How long the cluster may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
