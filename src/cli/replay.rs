//! `headgate replay`

use std::time::{Duration, Instant};

use super::Context;
use super::access::gateway;
use super::exit::{Done, Failure};
use super::tail::instant;
use crate::admin::{ReplayFrom, ReplayQuery};

/// How many events one request works on.
const STEP: usize = 1_000;
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Args {
    /// `journal`: what was accepted, through the present pipelines. `log`: what was delivered, as it is.
    #[arg(long, value_enum)]
    from: Origin,
    /// The sink whose embedded log is read; the first one without a name.
    #[arg(long, value_name = "SINK")]
    log: Option<String>,
    /// The sink that gets the events; the log's own without a name. Only from a log.
    #[arg(long, value_name = "SINK")]
    to: Option<String>,
    /// The topic that they get instead of their own. Only from a log.
    #[arg(long)]
    topic: Option<String>,
    /// Only events accepted (journal) or delivered (log) since: an instant (`2026-05-04T12:00:00Z`) or a duration ago (`10m`).
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
    /// Go on after this position: where a replay that was cut off said it was.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,
    /// Only says how many events it would be.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Origin {
    Journal,
    Log,
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
        },
        log: args.log,
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
    if matches!(query.from, ReplayFrom::Journal)
        && (query.to.is_some() || query.topic.is_some() || query.log.is_some())
    {
        return Err(Failure::usage(
            "`--log`, `--to` and `--topic` are for `--from log`: what comes from the journal goes where its pipeline sends it",
        ));
    }
    let gateway = gateway(&context.file).await?;
    let (started, mut said) = (Instant::now(), Instant::now());
    let mut taken = 0;
    let mut refused = std::collections::BTreeMap::<String, usize>::new();
    loop {
        let done = gateway.replay(&query).await.inspect_err(|_| {
            context.out.note(&format!(
                "{taken} events are replayed; go on with --after {} --replayid {}",
                query.after, query.replayid
            ));
        })?;
        taken += done.taken;
        for (reason, count) in done.refused {
            *refused.entry(reason).or_default() += count;
        }
        let Some(next) = done.next else { break };
        query.after = next;
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            context
                .out
                .note(&format!("{taken} events, at position {next}"));
        }
        if let Some(rate) = rate.filter(|_| !query.dry_run) {
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
