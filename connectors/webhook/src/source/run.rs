//! Building a source, and its life.

use std::{path::Path, str::FromStr, sync::Arc};

use headgate_sdk::{
    BuildError, LaneSpec, Problem, Replay, Source, SourceContext, SourceError, SourceInfo, Str,
    status::State,
};
use http::Method;
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{
    Acknowledge, Config, DedupFrom, OnInvalid, Tenant, address,
    dedup::Seen,
    failures::Failures,
    handler::Webhook,
    handshake::Learned,
    intake::{self, Endpoint, UniqueIds},
    keys::Remote,
    quarantine::Quarantine,
};
use crate::{
    client::Net,
    presets,
    verify::{Keys, Special, Verifier},
};

/// A webhook source, built and not yet running.
pub struct WebhookSource {
    config: Arc<Config>,
    scheme_name: Str,
    methods: Vec<Method>,
    allow: Vec<IpNet>,
    trusted: Vec<IpNet>,
    doors: Vec<Door>,
    /// Where published keys are fetched.
    pub(super) net: Net,
}

/// One path with its keys.
struct Door {
    path: String,
    /// `None` for the source's own keys.
    tenant: Option<String>,
    keys: Keys,
    verifier: Option<Arc<Verifier>>,
}

/// The paths of a source: its own, and one for each tenant.
pub(crate) fn paths(config: &Config, info: &SourceInfo) -> Vec<String> {
    doors(config, info)
        .into_iter()
        .map(|(path, _)| path)
        .collect()
}

/// The path of the source itself, or of a tenant.
pub(crate) fn path(config: &Config, info: &SourceInfo, tenant: Option<&str>) -> Option<String> {
    doors(config, info)
        .into_iter()
        .find(|(_, of)| of.map(|(name, _)| name) == tenant)
        .map(|(path, _)| path)
}

/// What is probably not meant.
pub(crate) fn warnings(config: &Config, info: &SourceInfo) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut warn = |pointer: &str, message: &str| {
        found.push(Problem {
            pointer: pointer.to_owned(),
            message: message.to_owned(),
        });
    };
    let has_url = config.public_url.is_some() || info.public_url.is_some();
    let signs_url = config
        .resolved_scheme()
        .is_some_and(|scheme| scheme.needs_url());
    if signs_url && !has_url && config.trusted_proxies.is_empty() {
        warn(
            "/public_url",
            "this scheme signs the public URL: set `public_url`, or nothing can be verified",
        );
    }
    if config.learn_secrets {
        warn(
            "/learn_secrets",
            "whoever reaches this endpoint can set its secret: switch `learn_secrets` off once the webhook is registered",
        );
    }
    found
}

/// The URL under which the vendor knows `path`, if a public one is configured.
pub(crate) fn public_url(config: &Config, info: &SourceInfo, path: &str) -> Option<String> {
    match (&config.public_url, &info.public_url) {
        (Some(base), _) => Some(intake::public_url(base, true, path)),
        (None, Some(base)) => Some(intake::public_url(base, false, path)),
        (None, None) => None,
    }
}

fn doors<'c>(
    config: &'c Config,
    info: &SourceInfo,
) -> Vec<(String, Option<(&'c str, &'c Tenant)>)> {
    let own = config
        .path
        .clone()
        .unwrap_or_else(|| format!("/webhook/{}", info.name));
    let mut doors = Vec::new();
    let own_keys = !config.secrets.is_empty() || (config.tenants.is_empty());
    if own_keys {
        doors.push((own.clone(), None));
    }
    for (name, tenant) in &config.tenants {
        let path = match &config.path {
            Some(path) => format!("{}/{name}", path.trim_end_matches('/')),
            None => format!("/webhook/{name}/{}", info.name),
        };
        doors.push((path, Some((name.as_str(), tenant))));
    }
    doors
}

impl WebhookSource {
    /// Checks everything that can be checked without asking anybody.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn build(config: Config, info: &SourceInfo) -> Result<Self, BuildError> {
        let mut problems: Vec<Problem> = Vec::new();
        let mut problem = |pointer: &str, message: String| {
            problems.push(Problem {
                pointer: pointer.to_owned(),
                message,
            });
        };
        match (&config.scheme, &config.verify) {
            (Some(_), Some(_)) => problem("/verify", "write either `scheme` or `verify`, not both".into()),
            (None, None) => problem(
                "",
                "say how requests are verified: `scheme: NAME` for a vendor, `verify: { … }` for anybody else".into(),
            ),
            (Some(name), None) if config.preset().is_none() => {
                let similar = presets::similar(name).join(", ");
                let hint = match similar.is_empty() {
                    true => "`headgate webhook schemes` lists the schemes".to_owned(),
                    false => format!("did you mean {similar}?"),
                };
                problem("/scheme", format!("there is no scheme `{name}`: {hint}"));
            }
            _ => {}
        }
        let mut networks = |key: &str, texts: &[String]| -> Vec<IpNet> {
            let mut found = Vec::new();
            for (index, text) in texts.iter().enumerate() {
                match address::network(text) {
                    Some(network) => found.push(network),
                    None => problem(
                        &format!("/{key}/{index}"),
                        format!(
                            "`{text}` is no network: write an address or CIDR, such as `203.0.113.0/24`"
                        ),
                    ),
                }
            }
            found
        };
        let allow = networks("allow", &config.allow);
        let trusted = networks("trusted_proxies", &config.trusted_proxies);
        if let Some(path) = &config.path
            && (!path.starts_with('/') || path.contains(['?', '#', ' ']))
        {
            problem("/path", format!("`{path}` is no path: write `/something`"));
        }
        if let Some(respond) = &config.respond
            && !(200..300).contains(&respond.status)
        {
            problem(
                "/respond/status",
                "only 200 to 299 tell a vendor that its delivery was taken".into(),
            );
        }
        for (name, value) in [("public_url", &config.public_url)] {
            if value
                .as_ref()
                .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://"))
            {
                problem(
                    &format!("/{name}"),
                    "write a whole URL: `https://hooks.example.com`".into(),
                );
            }
        }
        if config.max_concurrent == 0 {
            problem("/max_concurrent", "at least 1, or nothing comes in".into());
        }
        let methods = methods(&config, &mut problem);
        let mut built = Vec::new();
        for (path, tenant) in doors(&config, info) {
            let (keys, pointer) = match tenant {
                None => (config.keys(), String::new()),
                Some((name, tenant)) => (config.tenant_keys(tenant), format!("/tenants/{name}")),
            };
            let Some(scheme) = config.resolved_scheme() else {
                continue;
            };
            let to_be_learned = config.learn_secrets && keys.secrets.is_empty();
            let verifier = match Verifier::new(scheme, &keys) {
                Ok(verifier) => Some(Arc::new(verifier)),
                Err(_) if to_be_learned => None,
                Err(found) => {
                    for one in found {
                        // A problem of the scheme is said once, not for each tenant.
                        let place = match one.pointer.starts_with("/verify") {
                            true if tenant.is_some() && !built.is_empty() => continue,
                            true => one.pointer,
                            false => format!("{pointer}{}", one.pointer),
                        };
                        problem(&place, one.message);
                    }
                    None
                }
            };
            let by_id = config
                .resolved_scheme()
                .is_some_and(|scheme| scheme.special == Some(Special::Plaid));
            if by_id && keys.public_keys.is_empty() {
                for name in ["client_id", "secret"] {
                    if keys.params.get(name).is_none_or(String::is_empty) {
                        problem(
                            &format!("{pointer}/params"),
                            format!(
                                "the vendor's keys are handed out to your account alone: give `{name}` (or `public_keys`)"
                            ),
                        );
                    }
                }
            }
            built.push(Door {
                path,
                tenant: tenant.map(|(name, _)| name.to_owned()),
                keys,
                verifier,
            });
        }
        if !problems.is_empty() {
            return Err(BuildError { problems });
        }
        Ok(Self {
            scheme_name: Str::from(
                config
                    .scheme
                    .clone()
                    .unwrap_or_else(|| info.name.to_string()),
            ),
            config: Arc::new(config),
            methods,
            allow,
            trusted,
            doors: built,
            net: Net::public(),
        })
    }

    async fn endpoints(&self, cx: &SourceContext) -> Result<Vec<Arc<Endpoint>>, SourceError> {
        let config = &self.config;
        let tracker = TaskTracker::new();
        let remote = Remote::new(&self.net, tracker.clone()).map_err(SourceError::retriable)?;
        let quarantine = open_quarantine(config, &cx.scratch)?;
        let concurrency = Arc::new(Semaphore::new(config.max_concurrent as usize));
        let mut endpoints = Vec::new();
        for door in &self.doors {
            let tenant = door
                .tenant
                .as_ref()
                .map_or_else(|| cx.source.tenant.clone(), |name| Str::from(name.as_str()));
            let lane = cx
                .lanes
                .open(LaneSpec {
                    name: door.tenant.as_deref().map(Str::from).unwrap_or_default(),
                    tenant: tenant.clone(),
                    class: Str::new_static("default"),
                    replay: match config.ack {
                        Acknowledge::Journal => Replay::FromJournal,
                        Acknowledge::Sink => Replay::FromSender,
                    },
                })
                .await?;
            let seen =
                Seen::restore(&lane, config.dedup.window.get(), config.dedup.max_ids).await?;
            let learned = Arc::new(Learned::load(cx.scratch.join("learned-secrets.json")));
            let scheme = config.resolved_scheme();
            let verifier = match (door.tenant.is_none(), scheme) {
                (true, Some(scheme)) => Verifier::new(scheme, &learned.with(door.keys.clone()))
                    .ok()
                    .map(Arc::new),
                _ => None,
            };
            let preset = config.preset();
            endpoints.push(Arc::new(Endpoint {
                preset,
                scheme_name: self.scheme_name.clone(),
                source_name: cx.source.name.clone(),
                urn: match &door.tenant {
                    None => cx.source.urn.clone(),
                    Some(tenant) => {
                        Str::from(format!("urn:headgate:{tenant}:webhook:{}", cx.source.name))
                    }
                },
                tenant,
                verifier: std::sync::RwLock::new(verifier.or_else(|| door.verifier.clone())),
                params: door.keys.params.clone(),
                dedup: dedup_from(config),
                seen,
                lane,
                public_url: config
                    .public_url
                    .clone()
                    .or_else(|| cx.source.public_url.as_ref().map(Str::to_string)),
                methods: self.methods.clone(),
                handshakes: preset
                    .map(|preset| preset.handshakes.clone())
                    .unwrap_or_default()
                    .into_iter()
                    .chain(config.handshakes.iter().copied())
                    .collect(),
                allow: self.allow.clone(),
                trusted: self.trusted.clone(),
                admission: cx.admission.clone(),
                failures: config.unverified_limit.map(Failures::new),
                concurrency: Arc::clone(&concurrency),
                remote: remote.clone(),
                blobs: Arc::clone(&cx.blobs),
                quarantine: Arc::clone(&quarantine),
                learned,
                tracker: tracker.clone(),
                unique: UniqueIds::new(&cx.source.instance),
                config: Arc::clone(config),
            }));
        }
        Ok(endpoints)
    }
}

fn open_quarantine(config: &Config, scratch: &Path) -> Result<Arc<Quarantine>, SourceError> {
    let folder = scratch.join("quarantine");
    let enabled = config.on_invalid == OnInvalid::Quarantine;
    Quarantine::open(folder.clone(), config.quarantine.clone(), enabled)
        .map(Arc::new)
        .map_err(|error| SourceError::Retriable {
            message: format!(
                "the quarantine in {} cannot be opened: check its permissions",
                folder.display()
            ),
            source: Some(Box::new(error)),
        })
}

fn dedup_from(config: &Config) -> DedupFrom {
    let configured = config.dedup.from.clone();
    configured.unwrap_or_else(|| {
        config
            .resolved_scheme()
            .and_then(|scheme| scheme.dedup)
            .map_or(DedupFrom::None, DedupFrom::Place)
    })
}

fn methods(config: &Config, problem: &mut impl FnMut(&str, String)) -> Vec<Method> {
    let named: Vec<String> = match (config.methods.is_empty(), config.preset()) {
        (false, _) => config.methods.clone(),
        (true, Some(preset)) => preset.methods.clone(),
        (true, None) => vec!["POST".into()],
    };
    let mut methods = Vec::new();
    for (index, name) in named.iter().enumerate() {
        match Method::from_str(&name.to_ascii_uppercase()) {
            Ok(method) => methods.push(method),
            Err(_) => problem(
                &format!("/methods/{index}"),
                format!("`{name}` is no HTTP method"),
            ),
        }
    }
    methods
}

impl Source for WebhookSource {
    async fn run(self, mut cx: SourceContext) -> Result<(), SourceError> {
        let endpoints = self.endpoints(&cx).await?;
        let mut guards = Vec::new();
        for (door, endpoint) in self.doors.iter().zip(&endpoints) {
            let handler = Arc::new(Webhook(Arc::clone(endpoint)));
            let guard = cx
                .http
                .mount(&door.path, handler)
                .map_err(|error| SourceError::fatal(error.to_string()))?;
            guards.push(guard);
        }
        for warning in warnings(&self.config, &cx.source) {
            cx.status
                .warn(warning.pointer.trim_matches('/'), warning.message);
        }
        cx.status.set(State::Ready);
        loop {
            tokio::select! {
                () = cx.shutdown.cancelled() => break,
                () = revoked(&endpoints) => break,
                control = cx.control.next() => match control.action.as_str() {
                    "recheck" => {
                        let dry_run = control.arguments.get("dry_run").and_then(serde_json::Value::as_bool).unwrap_or(false);
                        let answer = match endpoints.first() {
                            Some(first) => first.quarantine.recheck(&endpoints, dry_run).await,
                            None => Ok(serde_json::json!({})),
                        };
                        control.reply(answer);
                    }
                    _ => control.unknown(),
                },
            }
        }
        drop(guards);
        finish(&self.config, &endpoints).await;
        Ok(())
    }
}

async fn revoked(endpoints: &[Arc<Endpoint>]) {
    let lanes = endpoints
        .iter()
        .map(|endpoint| Box::pin(endpoint.lane.revoked()));
    if endpoints.is_empty() {
        std::future::pending::<()>().await;
    }
    futures::future::select_all(lanes).await;
}

/// Lets requests under way finish, but not for ever.
async fn finish(config: &Config, endpoints: &[Arc<Endpoint>]) {
    let Some(first) = endpoints.first() else {
        return;
    };
    first.tracker.close();
    let all = async {
        let _requests = first.concurrency.acquire_many(config.max_concurrent).await;
        first.tracker.wait().await;
    };
    let _in_time = tokio::time::timeout(config.timeout.get(), all).await;
}
