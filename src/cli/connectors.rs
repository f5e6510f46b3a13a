//! `headgate connectors`

use super::Context;
use super::exit::{Done, Failure};
use crate::config::{connector_page, schema};
use crate::connectors::registry;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Shows the keys of this one.
    name: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let Some(name) = &args.name else {
        let mut rows = vec![["CONNECTOR", "WHAT IT DOES"].map(str::to_owned).to_vec()];
        rows.extend(
            registry()
                .iter()
                .map(|connector| vec![connector.name.to_owned(), connector.summary.to_owned()]),
        );
        return Ok(context.out.table(&rows)?);
    };
    match connector_page(&schema(registry()), name) {
        Some(page) => Ok(context.out.line(page.trim())?),
        None => {
            let names: Vec<String> = registry()
                .iter()
                .map(|connector| format!("`{}`", connector.name))
                .collect();
            Err(Failure::usage(format!(
                "there is no connector `{name}`; there are {}",
                names.join(", ")
            )))
        }
    }
}
