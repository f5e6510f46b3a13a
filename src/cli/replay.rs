//! `headgate replay`

use std::time::{Duration, Instant};

use super::Context;
use super::access::{Working, gateway};
use super::exit::{Done, Failure};
use super::tail::instant;
use crate::admin::{Gateway, ReplayFrom, ReplayQuery};

/// How many events one request works on.
const STEP: usize = 1_000;
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Args {
    /// `journal`: what was accepted, through the present pipelines. `log`, `kafka`: what was delivered, as it is.
    #[arg(long, value_enum)]
    from: Origin,
    /// The sink whose embedded log or cluster is read; the first one of its kind without a name.
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// The topics that are read, with `--from kafka`; `*` stands for any characters.
    #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
    topics: Vec<String>,
    /// The sink that gets the events; the one that is read without a name. Not from the journal.
    #[arg(long, value_name = "SINK")]
    to: Option<String>,
    /// The topic that they get instead of their own. Not from the journal.
    #[arg(long)]
    topic: Option<String>,
    /// Only events accepted (journal) or delivered (log, Kafka) since: an instant (`2026-05-04T12:00:00Z`) or a duration ago (`10m`).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events accepted or delivered before: an instant, or a duration ago. Now, if absent.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only events of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only events of this type; `*` stands for any characters.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only events with this id.
    #[arg(long)]
    id: Option<String>,
    /// Only events of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// The events' `replayid`; one is made up without it.
    #[arg(long, value_name = "ID")]
    replayid: Option<String>,
    /// At most so many events a second.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u32>,
    /// Go on where a replay that was cut off said it was.
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// Only says how many events it would be.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Origin {
    Journal,
    Log,
    Kafka,
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let made_up = || format!("replay-{}", jiff::Timestamp::now().as_millisecond());
    let until = args
        .until
        .as_deref()
        .map_or_else(|| Ok(jiff::Timestamp::now().to_string()), instant)?;
    let mut query = ReplayQuery {
        from: match args.from {
            Origin::Journal => ReplayFrom::Journal,
            Origin::Log => ReplayFrom::Log,
            Origin::Kafka => ReplayFrom::Kafka,
        },
        sink: args.sink,
        topics: args.topics,
        to: args.to,
        topic: args.topic,
        since: args.since.as_deref().map(instant).transpose()?,
        until: Some(until),
        source: args.source,
        kind: args.kind,
        id: args.id,
        tenant: args.tenant,
        replayid: args.replayid.unwrap_or_else(made_up),
        after: args.after,
        limit: STEP,
        dry_run: args.dry_run,
    };
    let rate = args.rate.filter(|rate| *rate > 0);
    if let Some(rate) = rate {
        query.limit = STEP.min(rate as usize);
    }
    let is_journal = matches!(query.from, ReplayFrom::Journal);
    if is_journal && (query.to.is_some() || query.topic.is_some() || query.sink.is_some()) {
        return Err(Failure::usage(
            "`--sink`, `--to` and `--topic` are for `--from log` and `--from kafka`: what comes from the journal goes where its pipeline sends it",
        ));
    }
    if matches!(query.from, ReplayFrom::Kafka) == query.topics.is_empty() {
        return Err(Failure::usage(
            "`--from kafka` needs `--topics` (`*` stands for any characters), and nothing else does",
        ));
    }
    if query.dry_run {
        let gateway = gateway(&context.file).await?;
        return replay(&*gateway, query, None, context).await;
    }
    let working = Working::of(&context.file).await?;
    let done = replay(working.gateway(), query, rate, context).await;
    working.finish(context.out).await;
    done
}

/// All of it, a part after the other.
async fn replay(
    gateway: &dyn Gateway,
    mut query: ReplayQuery,
    rate: Option<u32>,
    context: &Context,
) -> Done {
    let (started, mut said) = (Instant::now(), Instant::now());
    let mut taken = 0;
    let mut refused = std::collections::BTreeMap::<String, usize>::new();
    loop {
        let done = gateway.replay(&query).await.inspect_err(|_| {
            context.out.note(&format!(
                "{taken} events are replayed; go on with{} --replayid {}",
                query
                    .after
                    .as_ref()
                    .map(|after| format!(" --after {after}"))
                    .unwrap_or_default(),
                query.replayid
            ));
        })?;
        taken += done.taken;
        for (reason, count) in done.refused {
            *refused.entry(reason).or_default() += count;
        }
        let Some(next) = done.next else { break };
        query.after = Some(next);
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            context.out.note(&format!("{taken} events so far"));
        }
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(taken as f64 / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }
    for (reason, count) in refused {
        context.out.note(&format!("{count} left out: {reason}"));
    }
    context.out.line(&if query.dry_run {
        format!("{taken} events")
    } else {
        format!("{taken} events replayed as {}", query.replayid)
    })?;
    Ok(())
}
