//! From a configuration to a source: everything that can be wrong without a request is refused here.

use std::{str::FromStr, sync::Arc};

use headgate_sdk::{BuildError, Problem, SourceInfo, Str};
use http::Method;
use ipnet::IpNet;

use super::{Config, address, doors::doors};
use crate::{
    client::Net,
    presets,
    verify::{Keys, Special, Verifier},
};

/// A webhook source, built and not yet running.
pub struct WebhookSource {
    pub(super) config: Arc<Config>,
    pub(super) scheme_name: Str,
    pub(super) methods: Vec<Method>,
    pub(super) allow: Vec<IpNet>,
    pub(super) trusted: Vec<IpNet>,
    pub(super) doors: Vec<Door>,
    /// Where published keys are fetched.
    pub(super) net: Net,
}

/// One path with its keys.
pub(super) struct Door {
    pub(super) path: String,
    /// `None` for the source's own keys.
    pub(super) tenant: Option<String>,
    pub(super) keys: Keys,
    pub(super) verifier: Option<Arc<Verifier>>,
}

impl WebhookSource {
    /// Checks everything that can be checked without asking anybody.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn build(config: Config, info: &SourceInfo) -> Result<Self, BuildError> {
        let mut problems: Vec<Problem> = Vec::new();
        let mut problem =
            |pointer: &str, message: String| problems.push(Problem::new(pointer, message));
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
