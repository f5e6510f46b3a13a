//! `headgate reload`

use super::Context;
use super::access::gateway;
use super::exit::Done;
use crate::config::Loader;

/// The file is checked here first, so that a mistake is told with the place in the caller's own file; the gateway checks it
/// again, with its own environment.
pub(super) async fn run(context: &Context) -> Done {
    Loader::new().outline(&context.file)?;
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
