//! The way to the state of a gateway: its admin API if it runs, else its `data_dir` under the lock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use headgate_sdk::command::{AccessError, GatewayAccess};
use headgate_sdk::control::ControlError;
use headgate_sdk::{LaneId, Str};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::exit::Failure;
use super::output::Output;
use crate::admin::{Client, EntriesQuery, Gateway, GatewayError, Offline, Running};
use crate::config::{LoadError, Loader};
use crate::runtime;

/// After so long somebody is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The gateway of the configuration in `file`, running or not.
pub(super) async fn gateway(file: &Path) -> Result<Box<dyn Gateway>, Failure> {
    let outline = Loader::new().outline(file)?;
    let client = Client::new(outline.globals.admin.listen);
    if client.answers().await {
        return Ok(Box::new(client));
    }
    let file = file.to_owned();
    let opened = tokio::task::spawn_blocking(|| Offline::open(outline, file)).await;
    let opened = opened.map_err(|error| Failure::failed(error.to_string()))?;
    Ok(Box::new(opened?))
}

/// A gateway that can deliver: the running one, or with none running one that takes nothing in, put together for one command.
pub(super) struct Working {
    gateway: Box<dyn Gateway>,
    aside: Option<Aside>,
}

struct Aside {
    gateway: runtime::Gateway,
    deadline: Duration,
}

impl Working {
    /// The gateway of the configuration in `file`.
    pub(super) async fn of(file: &Path) -> Result<Self, Failure> {
        let outline = Loader::new().outline(file)?;
        let client = Client::new(outline.globals.admin.listen);
        if client.answers().await {
            return Ok(Self {
                gateway: Box::new(client),
                aside: None,
            });
        }
        if !outline.globals.data_dir.exists() {
            let address = outline.globals.admin.listen.to_string();
            return Err(GatewayError::NotRunning { address }.into());
        }
        let config = Loader::new().load(file)?.config;
        let deadline = config.globals.limits.shutdown.get();
        let started = runtime::Gateway::start_aside(config).await;
        let gateway = started.map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self {
            gateway: Box::new(Running::new(gateway.clone(), file.to_owned())),
            aside: Some(Aside { gateway, deadline }),
        })
    }

    pub(super) fn gateway(&self) -> &dyn Gateway {
        &*self.gateway
    }

    /// Waits until what was accepted is delivered, or somebody is tired of it: what is in the journal goes with the next start.
    pub(super) async fn finish(self, out: Output) {
        let Some(Aside { gateway, deadline }) = self.aside else {
            return;
        };
        let delivered = gateway.wait_for_aside();
        tokio::pin!(delivered);
        let is_done = tokio::select! {
            () = &mut delivered => true,
            () = tokio::time::sleep(PATIENCE) => false,
        };
        if !is_done {
            out.note("waiting for the sinks; interrupted, the rest stays in the journal for the next start");
            tokio::select! {
                () = &mut delivered => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        gateway.shutdown(deadline).await;
    }
}

/// What connectors' own commands get: the gateway, looked for when they first ask and kept to their end, since what is open cannot be
/// opened again beside itself.
pub(super) struct Access<'a> {
    file: &'a Path,
    gateway: OnceCell<Box<dyn Gateway>>,
}

impl<'a> Access<'a> {
    /// Access to the gateway of the configuration in `file`.
    pub(super) fn new(file: &'a Path) -> Self {
        let gateway = OnceCell::new();
        Self { file, gateway }
    }

    async fn gateway(&self) -> Result<&dyn Gateway, AccessError> {
        let found = self.gateway.get_or_try_init(|| gateway(self.file)).await;
        found
            .map(AsRef::as_ref)
            .map_err(|failure| AccessError::Io(failure.message.unwrap_or_default()))
    }
}

impl GatewayAccess for Access<'_> {
    fn control<'a>(
        &'a self,
        source: &'a str,
        action: &'a str,
        arguments: Value,
    ) -> BoxFuture<'a, Result<Value, AccessError>> {
        async move {
            Ok(self
                .gateway()
                .await?
                .control(source, action, arguments)
                .await?)
        }
        .boxed()
    }

    fn lanes<'a>(&'a self, source: &'a str) -> BoxFuture<'a, Result<Vec<LaneId>, AccessError>> {
        async move {
            let checkpoints = self.gateway().await?.checkpoints(Some(source)).await?;
            Ok(checkpoints
                .into_iter()
                .map(|checkpoint| LaneId::from_stored(checkpoint.lane))
                .collect())
        }
        .boxed()
    }

    fn entries<'a>(
        &'a self,
        lane: &'a LaneId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, AccessError>> {
        async move {
            let query = EntriesQuery {
                lane: lane.to_string(),
                prefix: prefix.to_owned(),
                after: after.map(str::to_owned),
                limit,
            };
            let found = self.gateway().await?.entries(&query).await?;
            Ok(found
                .entries
                .into_iter()
                .map(|entry| (Str::from(entry.key), Bytes::from(entry.value)))
                .collect())
        }
        .boxed()
    }
}

impl From<GatewayError> for AccessError {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::NotRunning { .. } => Self::NotRunning,
            GatewayError::NotFound(message) | GatewayError::Invalid(message) => {
                Self::Refused(ControlError::Invalid(message))
            }
            GatewayError::Refused(message) => Self::Refused(ControlError::Failed(message)),
            GatewayError::Configuration(_) | GatewayError::Failed(_) => Self::Io(error.to_string()),
        }
    }
}

impl From<LoadError> for AccessError {
    fn from(error: LoadError) -> Self {
        Self::Io(error.to_string())
    }
}

/// A listener's address as it is reached from the same machine.
pub(super) fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
