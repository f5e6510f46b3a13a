//! The paths of a source, and what its configuration probably does not mean.

use headgate_sdk::{Problem, SourceInfo};

use super::{Config, Tenant, intake};

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
    let mut warn = |pointer: &str, message: &str| found.push(Problem::new(pointer, message));
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

/// Each path, and the tenant that it is for.
pub(super) fn doors<'c>(
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
