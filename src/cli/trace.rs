//! `headgate trace`

use super::Context;
use super::access::gateway;
use super::exit::Done;
use super::tail::instant;
use crate::admin::{TraceQuery, TraceRun};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The event's id.
    id: String,
    /// Look in embedded logs only at what was delivered since: an instant (`2026-05-04T12:00:00Z`) or a duration ago (`10m`).
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
            "delivered  {}  to sink {}, position {}, topic {}, from lane {}, received {}{}",
            one.delivered,
            one.sink,
            one.position,
            one.topic,
            one.lane,
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
    Ok(())
}

fn replay(id: Option<&str>) -> String {
    id.map(|id| format!(", replay {id}")).unwrap_or_default()
}

fn how(run: &TraceRun) -> String {
    let batches = match run.batches {
        1 => "in a batch".to_owned(),
        batches => format!("among {batches} batches"),
    };
    format!(
        "{batches} of {} events, sent {} times, between {} and {}",
        run.events, run.attempts, run.begun, run.durable
    )
}
