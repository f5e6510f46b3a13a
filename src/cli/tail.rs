//! `headgate tail`

use futures::TryStreamExt;
use headgate_sdk::config::HumanDuration;
use serde_json::Value;

use super::Context;
use super::access::gateway;
use super::exit::{Done, Failure};
use super::output::{Colour, Output};
use crate::admin::LogQuery;

/// How much of an event's data a line shows.
const SHOWN: usize = 80;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only events of this source of the configuration.
    #[arg(long)]
    source: Option<String>,
    /// Only events of this type; `*` stands for any characters.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only events delivered since: an instant (`2026-05-04T12:00:00Z`) or a duration ago (`10m`).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// From the oldest event that is kept, instead of from now on.
    #[arg(long, conflicts_with = "after")]
    from_start: bool,
    /// From the event after this position on.
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Go on where the reader of this name stopped, and remember how far this one comes.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Stop at the end instead of waiting for more.
    #[arg(long)]
    no_follow: bool,
    /// One structured-mode CloudEvent a line, as it is when the output is no terminal.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let query = LogQuery {
        source: args.source,
        kind: args.kind,
        since: args.since.as_deref().map(instant).transpose()?,
        from_start: args.from_start,
        after: args.after,
        group: args.group,
        follow: !args.no_follow,
    };
    let json = args.json || !context.out.is_terminal;
    let mut lines = gateway(&context.file).await?.log(&query).await?;
    while let Some(line) = lines.try_next().await? {
        match json {
            true => context.out.line(&line)?,
            false => context.out.line(&human(context.out, &line))?,
        }
    }
    Ok(())
}

/// An instant as it was written, or that long ago.
pub(super) fn instant(text: &str) -> Result<String, Failure> {
    if let Ok(ago) = text.parse::<HumanDuration>() {
        let now = jiff::Timestamp::now();
        let then = jiff::SignedDuration::try_from(ago.get())
            .ok()
            .and_then(|ago| now.checked_sub(ago).ok());
        return Ok(then.unwrap_or(jiff::Timestamp::MIN).to_string());
    }
    text.parse::<jiff::Timestamp>().map(|instant| instant.to_string()).map_err(|_| {
        Failure::usage(format!("`{text}` is neither an instant nor a duration; write for example `2026-05-04T12:00:00Z` or `10m`"))
    })
}

/// A line for people: when, what, from where, about what, and the beginning of the data.
pub(super) fn human(out: Output, line: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let source = text("source").rsplit(':').next().unwrap_or_default();
    let data = match (
        event.get("data"),
        event.get("data_base64").and_then(Value::as_str),
    ) {
        (Some(Value::String(data)), _) => data.clone(),
        (Some(data), _) => data.to_string(),
        (None, Some(data)) => format!("{} bytes", data.trim_end_matches('=').len() * 3 / 4),
        (None, None) => String::new(),
    };
    let data: String = printable(&data).chars().take(SHOWN).collect();
    let position = event
        .get("logposition")
        .map(|position| position.to_string().replace('"', ""))
        .unwrap_or_default();
    format!(
        "{} {} {} {} {}",
        out.paint(
            Colour::Quiet,
            &format!("{position:>6} {}", printable(text("time")))
        ),
        out.paint(Colour::Good, &printable(text("type"))),
        printable(source),
        printable(text("subject")),
        out.paint(Colour::Quiet, &data),
    )
}

/// What came from outside must not move the cursor or the colours of an operator's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}
