//! `headgate webhook verify`.

use clap::Args;
use headgate_sdk::command::{CommandContext, CommandOutcome};

use super::{Outcome, options, print};
use crate::{
    presets,
    verify::{Failure, Keys, NoLookup, Verifier, explain},
};

/// Checks a request.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    scheme: options::Scheme,
    #[command(flatten)]
    request: options::Request,
    /// Print the verdict alone.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(options: &Options, cx: &CommandContext<'_>) -> Outcome {
    let (scheme, keys) = options.scheme.resolve(cx)?;
    let draft = options.request.draft()?;
    let now = options.request.now()?;
    let request = draft.as_incoming();
    if let Ok(verifier) = Verifier::new(scheme.clone(), &keys)
        && let Err(Failure::KeyNeeded(key)) = verifier.verify(&request, now, &NoLookup)
    {
        return Err(CommandOutcome::Failed(format!(
            "cannot decide: the vendor's key at {} is needed; download it and give it with --public-key FILE",
            key.url
        )));
    }
    let explanation = explain(&scheme, &keys, &request, now, &NoLookup);
    match &explanation.outcome {
        Ok(_) => print("valid"),
        Err(why) => print(format_args!("invalid: {why}")),
    }
    if !options.quiet {
        for (label, text) in &explanation.steps {
            print(format_args!("  {label:<11} {text}"));
        }
        if explanation.outcome.is_err() {
            let others = verifying_presets(options.scheme.name(), &keys, &request, now);
            for hint in explanation.hints.iter().chain(&others) {
                print(format_args!("  {:<11} {hint}", "hint"));
            }
        }
    }
    Ok(match explanation.outcome {
        Ok(_) => CommandOutcome::Fine,
        Err(_) => CommandOutcome::Wrong,
    })
}

/// Other presets under which the same request is valid: the wrong one may have been chosen.
fn verifying_presets(
    chosen: &str,
    keys: &Keys,
    request: &crate::verify::Incoming<'_>,
    now: jiff::Timestamp,
) -> Vec<String> {
    presets::all()
        .iter()
        .filter(|(name, _)| name.as_str() != chosen)
        .filter(|(_, preset)| {
            Verifier::new(preset.verify.clone(), keys)
                .is_ok_and(|verifier| verifier.verify(request, now, &NoLookup).is_ok())
        })
        .map(|(name, preset)| {
            format!(
                "the request is valid under the scheme `{name}` ({})",
                preset.title
            )
        })
        .collect()
}
