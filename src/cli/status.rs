//! `headgate status`

use super::Context;
use super::access::gateway;
use super::exit::Done;
use super::output::{Colour, Output};
use crate::admin::{Component, Status};

#[derive(clap::Args)]
pub(super) struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    let status = gateway(&context.file).await?.status().await?;
    if args.json {
        return Ok(context.out.json(&status)?);
    }
    show(context.out, &status)?;
    Ok(())
}

fn show(out: Output, status: &Status) -> std::io::Result<()> {
    let state = match (status.ready, &status.reason) {
        (true, _) => out.paint(Colour::Good, "ready"),
        (false, Some(reason)) => out.paint(Colour::Bad, &format!("not ready: {reason}")),
        (false, None) => out.paint(Colour::Bad, "not ready"),
    };
    out.line(&format!(
        "headgate {}, group {}, instance {}: {state}",
        status.version, status.group, status.instance
    ))?;
    if let Some(started) = &status.started {
        out.line(&format!("started {started}"))?;
    }
    if let Some(journal) = &status.journal {
        let waiting = journal.oldest_undelivered.as_ref().map_or_else(
            || "everything is delivered".to_owned(),
            |oldest| format!("undelivered since {oldest}"),
        );
        out.line(&format!(
            "journal: {} of {} bytes, {waiting}",
            journal.bytes, journal.capacity_bytes
        ))?;
        if journal.corruptions > 0 {
            let damage = format!(
                "journal: {} damaged stretches were set aside; see the log for where",
                journal.corruptions
            );
            out.line(&out.paint(Colour::Bad, &damage))?;
        }
    }
    for (title, components) in [("SOURCE", &status.sources), ("SINK", &status.sinks)] {
        if !components.is_empty() {
            out.line("")?;
            show_components(out, title, components)?;
        }
    }
    Ok(())
}

/// A table of sources or sinks, their warnings below it.
pub(super) fn show_components(
    out: Output,
    title: &str,
    components: &[Component],
) -> std::io::Result<()> {
    let mut rows = vec![
        [title, "TYPE", "STATE", "REASON"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(components.iter().map(|component| {
        vec![
            component.name.clone(),
            component.kind.clone(),
            component.state.clone(),
            component.reason.clone().unwrap_or_default(),
        ]
    }));
    out.table(&rows)?;
    for component in components {
        for warning in component.warnings.values() {
            out.line(&out.paint(
                Colour::Attention,
                &format!("{}: warning: {warning}", component.name),
            ))?;
        }
    }
    Ok(())
}
