//! `headgate reload`

use super::Context;
use super::access::gateway;
use super::exit::Done;

/// The gateway reads its own file, with its own environment; the one named here only says where it listens.
pub(super) async fn run(context: &Context) -> Done {
    let reloaded = gateway(&context.file).await?.reload().await?;
    for warning in &reloaded.warnings {
        context.out.note(&format!("{warning} (warning)"));
    }
    for change in &reloaded.changes {
        context.out.line(change)?;
    }
    if reloaded.changes.is_empty() {
        context.out.line("nothing changed")?;
    }
    Ok(())
}
