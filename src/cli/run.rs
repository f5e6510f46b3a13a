//! `headgate run`

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::Arc;

use headgate_sdk::ExampleContext;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use super::Context;
use super::access::from_here;
use super::exit::{Done, FAILED, Failure};
use crate::admin::{self, Running};
use crate::config::{Config, Loader};
use crate::http::ListenError;
use crate::runtime::{Gateway, descriptors};

/// What decides how much is logged: a level, or levels by target.
const LOG_VARIABLE: &str = "HEADGATE_LOG";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print commands that send the sources their first events, also when nobody sits at a terminal.
    #[arg(long)]
    examples: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Done {
    start_logging()?;
    descriptors::raise();
    let loaded = Loader::new().load(&context.file)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let config = loaded.config;
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::failed(format!("figures cannot be kept: {error}")))?;
    let mut signals = Signals::new()?;
    let listen = config.globals.admin.listen;
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Failure::failed(ListenError::new("admin.listen", listen, error).to_string())
    })?;

    let deadline = config.globals.limits.shutdown.get();
    let examples = args.examples || io::stderr().is_terminal();
    let gateway = tokio::select! {
        started = Gateway::start(config.clone()) => started.map_err(|error| Failure::failed(error.to_string()))?,
        () = signals.next() => return Ok(()),
    };
    tracing::info!(http = %gateway.address(), admin = %listen, data_dir = %gateway.data_dir().root().display(), "running");
    if examples {
        context.out.note(&first_steps(&config, &gateway, context));
    }

    let stop_admin = CancellationToken::new();
    let running = Arc::new(Running::new(gateway.clone(), context.file.clone()));
    let serving = tokio::spawn(admin::serve(listener, running, metrics, stop_admin.clone()));

    signals.next().await;
    tracing::info!(
        ?deadline,
        "stopping: taking nothing in, delivering what is under way; a second signal ends at once"
    );
    tokio::select! {
        drained = gateway.shutdown(deadline) => tracing::info!(drained, "stopped"),
        () = signals.next() => {
            tracing::warn!("ended at once; what was not durable is sent again at the next start");
            std::process::exit(FAILED.into());
        }
    }
    stop_admin.cancel();
    match serving.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::failed(format!(
            "the admin listener failed: {error}"
        ))),
        Err(error) => Err(Failure::failed(format!(
            "the admin listener failed: {error}"
        ))),
    }
}

fn start_logging() -> Result<(), Failure> {
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let targets = Targets::from_str(&wanted).map_err(|error| {
        Failure::usage(format!("`{LOG_VARIABLE}={wanted}` is not understood ({error}); write for example `info` or `info,headgate::journal=debug`"))
    })?;
    let colours = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .init();
    Ok(())
}

/// SIGTERM and SIGINT, whichever comes.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Cancel safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What a newcomer pastes next.
fn first_steps(config: &Config, gateway: &Gateway, context: &Context) -> String {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "headgate".to_owned());
    let file = context.file.display().to_string();
    let http_url = format!("http://{}", from_here(gateway.address()));
    let instance = gateway.data_dir().identity().instance.clone();
    let mut steps = String::new();
    for source in &config.sources {
        let info = config.source_info(source, &instance);
        let cx = ExampleContext {
            source: &info,
            program: &program,
            config_file: &file,
            http_url: &http_url,
        };
        for example in (source.connector.examples)(source.keys.expose(), &cx) {
            steps += &format!(
                "\n  # {}: {}\n  {}\n",
                source.name, example.what, example.command
            );
        }
    }
    if config
        .sinks
        .iter()
        .any(|sink| matches!(sink.kind, crate::sink::Kind::Log(_)))
    {
        steps += &format!("\n  # see what arrived\n  {program} tail -c {file} --from-start\n");
    }
    match steps.is_empty() {
        true => steps,
        false => format!("\nTry it, in another terminal:\n{steps}"),
    }
}
