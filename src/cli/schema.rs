//! `headgate schema`

use super::Context;
use super::exit::Done;
use crate::admin::openapi;
use crate::config::{reference_page, schema};
use crate::connectors::registry;

#[derive(clap::Args)]
#[group(multiple = false)]
pub(super) struct Args {
    /// The reference page of the configuration, in Markdown, instead of its JSON Schema.
    #[arg(long)]
    page: bool,
    /// The OpenAPI document of the admin API instead.
    #[arg(long)]
    openapi: bool,
    /// The reference page of the command line, in Markdown, instead.
    #[arg(long)]
    commands: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    if args.page {
        return Ok(context
            .out
            .line(reference_page(&schema(registry())).trim_end())?);
    }
    if args.commands {
        return Ok(context.out.line(super::reference::page().trim_end())?);
    }
    let document = if args.openapi {
        openapi()
    } else {
        schema(registry())
    };
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    Ok(context.out.line(&text)?)
}
