//! `headgate init`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use super::Context;
use super::exit::{Done, Failure};

/// The configuration to start from; `{{SECRET}}` becomes a random one.
const TEMPLATE: &str = include_str!("init.yaml");

#[derive(clap::Args)]
pub(super) struct Args {
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
    /// Print the configuration instead of writing a file.
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let text = starter()?;
    if args.print {
        return Ok(context.out.line(text.trim_end())?);
    }
    let file = context.file.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options
        .open(&context.file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            context.out.note(&format!("wrote {file}; check it with `headgate validate -c {file}`, start it with `headgate run -c {file}`"));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::failed(format!(
            "{file} exists already; `--force` overwrites it, `-c FILE` writes another"
        ))),
        Err(error) => Err(Failure::failed(format!("cannot write {file}: {error}"))),
    }
}

/// The configuration with a secret of its own.
pub(super) fn starter() -> Result<String, Failure> {
    let mut secret = [0_u8; 16];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::failed(format!("the system gives no random numbers: {error}")))?;
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(TEMPLATE.replace("{{SECRET}}", &secret))
}
