//! `headgate webhook send`: posts a signed request, or many.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::Args;
use futures::{StreamExt, stream};
use headgate_sdk::command::{CommandContext, CommandOutcome};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::{Outcome, print, sign};
use crate::client::{Client, Net};

/// Sends signed requests.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    signing: sign::Signing,
    /// Where to post, if that is not --url (which is what some schemes sign).
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// How many requests. `{n}` in the body becomes the request's number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u64,
    /// How many at once.
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
}

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(options: &Options, cx: &CommandContext<'_>) -> Outcome {
    let signer = options.signing.signer(cx)?;
    let mut draft = options.signing.draft()?;
    let mut to = options.to.clone();
    if draft.url.is_none() {
        // A source of the configuration says itself where it is.
        if let Some((local, signed)) = options.signing.scheme.addresses(cx)? {
            draft.url = Some(signed);
            to = to.or(Some(local));
        } else {
            draft.url.clone_from(&options.to);
        }
    }
    if draft.url.is_none() {
        return Err(CommandOutcome::Usage(
            "where to? Give --url, or --source to ask the configuration".into(),
        ));
    }
    let addressed = |mut signed: crate::verify::Draft| {
        if let Some(to) = &to {
            // What signing added to the query (a hash, a signature) goes along.
            let query = signed
                .url
                .as_deref()
                .and_then(|url| url.split_once('?'))
                .map(|(_, query)| query);
            signed.url = Some(match query {
                Some(query) if !to.contains('?') => format!("{to}?{query}"),
                _ => to.clone(),
            });
        }
        signed
    };
    let client = Client::new(&Net::public()).map_err(CommandOutcome::Failed)?;
    if options.repeat == 1 {
        let signed = signer
            .sign(draft, options.signing.request.now()?)
            .map_err(sign::failed)?;
        let answer = client
            .send(&signed, ANSWER_WITHIN)
            .await
            .map_err(CommandOutcome::Failed)?;
        print(format_args!(
            "{} {}",
            answer.status.as_u16(),
            String::from_utf8_lossy(&answer.body).trim_end()
        ));
        return Ok(match answer.status.is_success() {
            true => CommandOutcome::Fine,
            false => CommandOutcome::Wrong,
        });
    }
    let bar = progress(options.repeat);
    let statuses = Mutex::new(BTreeMap::<u16, u64>::new());
    let now = options.signing.request.given_now()?;
    let started = Instant::now();
    let requests = stream::iter(0..options.repeat).map(|number| {
        let mut draft = draft.clone();
        if let Ok(text) = std::str::from_utf8(&draft.body) {
            draft.body = text.replace("{n}", &number.to_string()).into_bytes();
        }
        let signed = signer
            .sign(draft, now.unwrap_or_else(Timestamp::now))
            .map(addressed);
        let (client, bar, statuses) = (&client, &bar, &statuses);
        async move {
            let signed = signed.map_err(sign::failed)?;
            let begun = Instant::now();
            let answer = client
                .send(&signed, ANSWER_WITHIN)
                .await
                .map_err(CommandOutcome::Failed)?;
            *statuses
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(answer.status.as_u16())
                .or_default() += 1;
            if !answer.status.is_success() {
                bar.set_message(format!("last refusal: {}", answer.status));
            }
            bar.inc(1);
            Ok::<_, CommandOutcome>(begun.elapsed())
        }
    });
    let outcomes: Vec<Result<Duration, CommandOutcome>> = requests
        .buffer_unordered(usize::from(options.concurrency))
        .collect()
        .await;
    bar.finish_and_clear();
    let mut times = Vec::with_capacity(outcomes.len());
    let mut failed = 0_u64;
    let mut failure = None;
    for outcome in outcomes {
        match outcome {
            Ok(time) => times.push(time),
            Err(error) => {
                failed += 1;
                failure = Some(error);
            }
        }
    }
    if times.is_empty() {
        return Err(failure.unwrap_or_else(|| CommandOutcome::Failed("nothing was sent".into())));
    }
    let statuses = statuses
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    summary(&mut times, &statuses, failed, started.elapsed());
    if let Some(CommandOutcome::Failed(error)) = &failure {
        print(format_args!("the last failure: {error}"));
    }
    let fine = failed == 0 && statuses.keys().all(|status| (200..300).contains(status));
    Ok(match fine {
        true => CommandOutcome::Fine,
        false => CommandOutcome::Wrong,
    })
}

fn progress(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} {msg}")
        .expect("the template is constant and valid");
    ProgressBar::new(total).with_style(style)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn summary(times: &mut [Duration], statuses: &BTreeMap<u16, u64>, failed: u64, elapsed: Duration) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    print(format_args!(
        "{} answered in {:.2} s ({:.0}/s), {failed} failed",
        times.len(),
        elapsed.as_secs_f64(),
        times.len() as f64 / elapsed.as_secs_f64().max(f64::EPSILON),
    ));
    for (status, count) in statuses {
        print(format_args!("  {count} × {status} {}", meaning(*status)));
    }
    print(format_args!(
        "latency ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, max {:.2}",
        millis(at(50)),
        millis(at(90)),
        millis(at(99)),
        millis(at(100))
    ));
}

/// What Headgate means by a status.
fn meaning(status: u16) -> &'static str {
    match status {
        202 => "accepted",
        200 => "repeated (a delivery with this id was accepted before) or answered as configured",
        401 => "refused: the signature, or the time of sending",
        404 => "nothing is configured at this path",
        413 => "refused: too large",
        429 => "over the limit",
        503 => "busy: to be sent again",
        _ => "",
    }
}
