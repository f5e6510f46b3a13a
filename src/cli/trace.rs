//! `headgate trace`

use super::Context;
use super::access::gateway;
use super::exit::Done;
use super::tail::instant;
use crate::admin::{TraceDelivered, TraceQuery, TraceRun};

/// Stretches of partitions that are shown of a run; `--json` has all.
const STRETCHES: usize = 4;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The event's id.
    id: String,
    /// Look only at what was delivered since: an instant (`2026-05-04T12:00:00Z`) or a duration ago (`10m`). Topics are looked through
    /// from there on also for an event of which the journal knows where it went.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let query = TraceQuery {
        since: args.since.as_deref().map(instant).transpose()?,
    };
    let trace = gateway(&context.file)
        .await?
        .trace(&args.id, &query)
        .await?;
    let out = context.out;
    if args.json {
        out.json(&trace)?;
        return Ok(());
    }
    for one in &trace.received {
        let state = if one.waits {
            ", waits for delivery"
        } else {
            ""
        };
        out.line(&format!(
            "received   {}  on lane {}, journal position {}{state}{}",
            one.recorded,
            one.lane,
            one.position,
            replay(one.replayid.as_deref())
        ))?;
        for run in &one.runs {
            out.line(&format!("           to sink {}: {}", run.sink, how(run)))?;
        }
    }
    for one in &trace.delivered {
        out.line(&format!(
            "delivered  {}  to sink {}, topic {}, {}{}, received {}{}",
            one.delivered,
            one.sink,
            one.topic,
            place(one),
            one.lane
                .as_ref()
                .map(|lane| format!(", from lane {lane}"))
                .unwrap_or_default(),
            one.recorded,
            replay(one.replayid.as_deref())
        ))?;
        if let Some(run) = &one.run {
            out.line(&format!("           {}", how(run)))?;
        }
    }
    for one in &trace.dead_letters {
        out.line(&format!(
            "dead       {}  at step {}, {}: {} (dead letter {})",
            one.failed, one.step, one.reason, one.message, one.position
        ))?;
    }
    for gap in &trace.gaps {
        out.note(gap);
    }
    Ok(())
}

fn place(one: &TraceDelivered) -> String {
    match (one.position, one.partition, one.offset) {
        (Some(position), ..) => format!("position {position}"),
        (None, Some(partition), Some(offset)) => format!("partition {partition}, offset {offset}"),
        _ => "somewhere".to_owned(),
    }
}

fn replay(id: Option<&str>) -> String {
    id.map(|id| format!(", replay {id}")).unwrap_or_default()
}

fn how(run: &TraceRun) -> String {
    let batches = match run.batches {
        1 => "in a batch".to_owned(),
        batches => format!("among {batches} batches"),
    };
    let refused = match run.refused {
        0 => String::new(),
        refused => format!(", {refused} of them refused"),
    };
    let mut stretches = run.topics.iter().map(|stretch| {
        let (topic, partition) = (&stretch.topic, stretch.partition);
        format!(
            "; {topic}, partition {partition}, offsets {} to {}",
            stretch.first, stretch.last
        )
    });
    let stretches: String = stretches.by_ref().take(STRETCHES).collect();
    format!(
        "{batches} of {} events{refused}, sent {} times, between {} and {}{stretches}",
        run.events, run.attempts, run.begun, run.durable
    )
}
