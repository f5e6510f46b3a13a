//! Options that verify, sign and send share: the scheme with its keys, and the request.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use headgate_sdk::{
    command::{CommandContext, CommandOutcome, ConfiguredSource},
    config::Secret,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    presets,
    source::{self, Config},
    verify::{self, Draft, Keys},
};

/// Which scheme, with which keys.
#[derive(Debug, Args)]
pub(super) struct Scheme {
    /// The preset (`github`, `stripe`, …); `headgate webhook schemes` lists them.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "source",
        conflicts_with = "source"
    )]
    scheme: Option<String>,
    /// Instead of --scheme: take scheme and keys from this source of the configuration.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// With --source: a tenant of it, which has keys and a path of its own.
    #[arg(long, value_name = "NAME", requires = "source")]
    tenant: Option<String>,
    /// The shared secret; repeat it for several (rotation).
    #[arg(long = "secret", value_name = "SECRET", allow_hyphen_values = true)]
    secrets: Vec<String>,
    /// A public key, certificate or JWKS: PEM, raw, or the path of a file that holds it.
    #[arg(
        long = "public-key",
        value_name = "PEM-OR-RAW",
        allow_hyphen_values = true
    )]
    public_keys: Vec<String>,
    /// What else the scheme needs (`webhook_id=…` for PayPal, `hash=…` for Vonage SMS).
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair, allow_hyphen_values = true)]
    params: Vec<(String, String)>,
}

/// The request.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// The method.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// The URL that the vendor was given.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// A header; repeat it.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header, allow_hyphen_values = true)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The file with the body's exact bytes; `-` is standard input. Left out, the body is empty.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    body_file: Option<PathBuf>,
    /// The body itself.
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "body_file",
        allow_hyphen_values = true
    )]
    body: Option<String>,
    /// The time of receipt (for sign and send: of sending), in seconds since 1970. Default: now.
    #[arg(long, value_name = "UNIX", allow_hyphen_values = true)]
    now: Option<i64>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write NAME=VALUE".into())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write 'NAME: VALUE'")?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| "the name is no header name")?;
    let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes())
        .map_err(|_| "the value has a control character")?;
    Ok((name, value))
}

impl Scheme {
    /// The scheme's name, for people.
    pub(super) fn name(&self) -> &str {
        self.scheme
            .as_deref()
            .or(self.source.as_deref())
            .unwrap_or_default()
    }

    /// Where the source given with --source is posted to from this machine, and the URL that its sender signs.
    pub(super) fn addresses(
        &self,
        cx: &CommandContext<'_>,
    ) -> Result<Option<(String, String)>, CommandOutcome> {
        let Some(name) = &self.source else {
            return Ok(None);
        };
        let (config, source) = configured(name, cx)?;
        let tenant = self.tenant.as_deref();
        let Some(path) = source::path(&config, &source.info, tenant) else {
            return Ok(None);
        };
        let local = format!("{}{path}", source.http_url);
        let signed = source::public_url(&config, &source.info, &path);
        Ok(Some((local.clone(), signed.unwrap_or(local))))
    }

    /// The scheme and its keys, from the options or the configuration.
    pub(super) fn resolve(
        &self,
        cx: &CommandContext<'_>,
    ) -> Result<(verify::Scheme, Keys), CommandOutcome> {
        let (scheme, mut keys) = match (&self.scheme, &self.source) {
            (Some(name), _) => {
                let preset = presets::find(name).ok_or_else(|| unknown(name))?;
                (preset.verify.clone(), Keys::default())
            }
            (None, Some(source)) => from_configuration(source, self.tenant.as_deref(), cx)?,
            (None, None) => return Err(CommandOutcome::Usage("give --scheme or --source".into())),
        };
        if !self.secrets.is_empty() {
            keys.secrets = self
                .secrets
                .iter()
                .map(|s| Secret::new(s.as_str()))
                .collect();
        }
        if !self.public_keys.is_empty() {
            keys.public_keys = self
                .public_keys
                .iter()
                .map(|text| text_or_file(text))
                .collect::<Result<_, _>>()?;
        }
        keys.params.extend(self.params.iter().cloned());
        Ok((scheme, keys))
    }
}

fn unknown(name: &str) -> CommandOutcome {
    let similar = presets::similar(name);
    let hint = match similar.is_empty() {
        true => "`headgate webhook schemes` lists the schemes".to_owned(),
        false => format!("did you mean {}?", similar.join(", ")),
    };
    CommandOutcome::Usage(format!("there is no scheme `{name}`: {hint}"))
}

fn from_configuration(
    name: &str,
    tenant: Option<&str>,
    cx: &CommandContext<'_>,
) -> Result<(verify::Scheme, Keys), CommandOutcome> {
    let (config, _) = configured(name, cx)?;
    let scheme = config.resolved_scheme().ok_or_else(|| {
        CommandOutcome::Failed(format!(
            "source `{name}` has neither a known `scheme` nor `verify`"
        ))
    })?;
    let tenants = || {
        config
            .tenants
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    let keys = match tenant {
        Some(tenant) => config.tenant_keys(config.tenants.get(tenant).ok_or_else(|| {
            CommandOutcome::Usage(format!(
                "source `{name}` has no tenant `{tenant}`: it has {}",
                tenants()
            ))
        })?),
        None if config.secrets.is_empty() && !config.tenants.is_empty() => {
            return Err(CommandOutcome::Usage(format!(
                "source `{name}` has keys for each tenant: give --tenant with one of {}",
                tenants()
            )));
        }
        None => config.keys(),
    };
    Ok((scheme, keys))
}

/// A source of the configuration and its keys.
fn configured(
    name: &str,
    cx: &CommandContext<'_>,
) -> Result<(Config, ConfiguredSource), CommandOutcome> {
    let sources = (cx.sources)()?;
    let source = sources
        .into_iter()
        .find(|source| source.info.name == name)
        .ok_or_else(|| {
            CommandOutcome::Usage(format!("the configuration has no webhook source `{name}`"))
        })?;
    let config = serde_json::from_value(source.config.clone())
        .map_err(|error| CommandOutcome::Failed(format!("source `{name}`: {error}")))?;
    Ok((config, source))
}

/// A key given as text, or the content of the file of that name.
fn text_or_file(text: &str) -> Result<String, CommandOutcome> {
    let path = Path::new(text);
    if text.len() < 4096 && !text.contains('\n') && path.is_file() {
        return read_text(path);
    }
    Ok(text.to_owned())
}

/// Reads a text file.
pub(super) fn read_text(path: &Path) -> Result<String, CommandOutcome> {
    std::fs::read_to_string(path)
        .map_err(|error| CommandOutcome::Failed(format!("cannot read {}: {error}", path.display())))
}

impl Request {
    /// The request as given.
    pub(super) fn draft(&self) -> Result<Draft, CommandOutcome> {
        let body = match (&self.body, &self.body_file) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, None) => Vec::new(),
            (None, Some(path)) if path.as_os_str() == "-" => {
                let mut body = Vec::new();
                std::io::stdin().read_to_end(&mut body).map_err(|error| {
                    CommandOutcome::Failed(format!("cannot read standard input: {error}"))
                })?;
                body
            }
            (None, Some(path)) => std::fs::read(path).map_err(|error| {
                CommandOutcome::Failed(format!("cannot read {}: {error}", path.display()))
            })?,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        Ok(Draft {
            method: self.method.to_ascii_uppercase(),
            url: self.url.clone(),
            headers,
            body,
        })
    }

    /// The time to reckon with.
    pub(super) fn now(&self) -> Result<jiff::Timestamp, CommandOutcome> {
        Ok(self.given_now()?.unwrap_or_else(jiff::Timestamp::now))
    }

    /// The time given with --now.
    pub(super) fn given_now(&self) -> Result<Option<jiff::Timestamp>, CommandOutcome> {
        let read = |seconds| {
            jiff::Timestamp::from_second(seconds).map_err(|_| {
                CommandOutcome::Usage(format!("--now {seconds} is no time in seconds since 1970"))
            })
        };
        self.now.map(read).transpose()
    }
}
