//! `headgate dead-letters`

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::Context;
use super::access::{Working, gateway};
use super::exit::{Done, Failure};
use super::tail::instant;
use crate::admin::{DeadLetterQuery, Gateway, LetterAction};

/// How many letters one request works on.
const STEP: usize = 500;
/// How often progress is said where nobody watches a terminal.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists what could not be delivered, oldest first.
    List {
        #[command(flatten)]
        which: Which,
        /// As JSON, one line each.
        #[arg(long)]
        json: bool,
    },
    /// Shows one with its event, as JSON.
    Show {
        /// Its position, as `list` prints it.
        position: u64,
    },
    /// Gives events to the present pipelines of their sources again, with their ids.
    Retry {
        #[command(flatten)]
        which: Which,
        /// Only says how many it would be.
        #[arg(long)]
        dry_run: bool,
        /// At most so many a second.
        #[arg(long, value_name = "PER_SECOND")]
        rate: Option<u32>,
    },
    /// Gives events up for good. What was discarded is recorded in `data_dir/dead-letters/audit.jsonl`.
    Discard {
        #[command(flatten)]
        which: Which,
        /// Only says how many it would be.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(clap::Args)]
struct Which {
    /// Only the one at this position.
    #[arg(long)]
    position: Option<u64>,
    /// Only events of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only events of this type; `*` stands for any characters.
    #[arg(long = "type")]
    kind: Option<String>,
    /// Only events with this id.
    #[arg(long)]
    id: Option<String>,
    /// Only those with this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Only those of this step.
    #[arg(long)]
    step: Option<String>,
    /// Only those that failed since: an instant (`2026-05-04T12:00:00Z`) or a duration ago (`10m`).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those that failed before: an instant, or a duration ago.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Which {
    fn query(self) -> Result<DeadLetterQuery, Failure> {
        Ok(DeadLetterQuery {
            position: self.position,
            source: self.source,
            kind: self.kind,
            id: self.id,
            reason: self.reason,
            step: self.step,
            since: self.since.as_deref().map(instant).transpose()?,
            until: self.until.as_deref().map(instant).transpose()?,
            after: 0,
            limit: STEP,
            events: false,
        })
    }
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    if let Command::Retry {
        which,
        dry_run: false,
        rate,
    } = args.command
    {
        let working = Working::of(&context.file).await?;
        let (gateway, query) = (working.gateway(), which.query()?);
        let done = act(gateway, LetterAction::Retry, query, rate, context).await;
        working.finish(context.out).await;
        return done;
    }
    let gateway = gateway(&context.file).await?;
    match args.command {
        Command::List { which, json } => list(&*gateway, which.query()?, json, context).await,
        Command::Show { position } => {
            let query = DeadLetterQuery {
                position: Some(position),
                events: true,
                limit: 1,
                ..DeadLetterQuery::default()
            };
            for letter in gateway.dead_letters(&query).await? {
                context.out.json(&letter)?;
            }
            Ok(())
        }
        Command::Retry { which, .. }
        | Command::Discard {
            which,
            dry_run: true,
        } => {
            let count = count(&*gateway, which.query()?).await?;
            context.out.line(&format!("{count} dead letters"))?;
            Ok(())
        }
        Command::Discard { which, .. } => {
            act(
                &*gateway,
                LetterAction::Discard,
                which.query()?,
                None,
                context,
            )
            .await
        }
    }
}

async fn list(
    gateway: &dyn Gateway,
    mut query: DeadLetterQuery,
    json: bool,
    context: &Context,
) -> Done {
    let mut rows = vec![
        [
            "POSITION", "FAILED", "SOURCE", "TYPE", "ID", "STEP", "REASON",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    loop {
        let letters = gateway.dead_letters(&query).await?;
        let Some(last) = letters.last() else { break };
        query.after = last.position;
        for letter in letters {
            if json {
                context.out.json(&letter)?;
                continue;
            }
            rows.push(vec![
                letter.position.to_string(),
                letter.failed,
                letter.source,
                letter.kind,
                letter.id,
                letter.step,
                letter.reason,
            ]);
        }
        if query.position.is_some() {
            break;
        }
    }
    if !json {
        context.out.table(&rows)?;
    }
    Ok(())
}

async fn count(gateway: &dyn Gateway, mut query: DeadLetterQuery) -> Result<usize, Failure> {
    let mut count = 0;
    loop {
        let letters = gateway.dead_letters(&query).await?;
        count += letters.len();
        match letters.last() {
            Some(last) if query.position.is_none() => query.after = last.position,
            _ => return Ok(count),
        }
    }
}

async fn act(
    gateway: &dyn Gateway,
    action: LetterAction,
    mut query: DeadLetterQuery,
    rate: Option<u32>,
    context: &Context,
) -> Done {
    let total = count(gateway, query.clone()).await?;
    let mut progress = Progress::new(total, context);
    let started = Instant::now();
    if let Some(rate) = rate {
        query.limit = STEP.min((rate as usize).max(1));
    }
    let mut refused = std::collections::BTreeMap::<String, usize>::new();
    let mut looked_at = 0;
    loop {
        let done = gateway.act_on_dead_letters(action, &query).await?;
        progress.done += done.done;
        looked_at += done.done + done.refused.values().sum::<usize>();
        for (reason, count) in done.refused {
            *refused.entry(reason).or_default() += count;
        }
        progress.say(false);
        let Some(next) = done.next else { break };
        query.after = next;
        if let Some(rate) = rate.filter(|rate| *rate > 0) {
            let due = Duration::from_secs_f64(looked_at as f64 / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }
    progress.say(true);
    for (reason, count) in refused {
        context.out.note(&format!("{count} stay: {reason}"));
    }
    context
        .out
        .line(&format!("{} {}", progress.done, action.done()))?;
    Ok(())
}

/// Says how far it is: all the time on a terminal, now and then elsewhere.
struct Progress<'a> {
    total: usize,
    done: usize,
    started: Instant,
    said: Instant,
    context: &'a Context,
}

impl<'a> Progress<'a> {
    fn new(total: usize, context: &'a Context) -> Self {
        let now = Instant::now();
        Self {
            total,
            done: 0,
            started: now,
            said: now,
            context,
        }
    }

    fn say(&mut self, last: bool) {
        let watched = std::io::stderr().is_terminal();
        if self.total <= STEP || !(watched || last || self.said.elapsed() >= SAY_EVERY) {
            return;
        }
        self.said = Instant::now();
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let left = self.total.saturating_sub(self.done) as f64 / rate.max(0.001);
        self.context.out.note(&format!(
            "{} of {}, {rate:.0} a second, {left:.0} s left",
            self.done, self.total
        ));
    }
}
