//! What a good file gives, and what every kind of bad one is told.

mod bad;
mod checked_in;
mod good;
mod pipeline;

use std::path::Path;

use headgate_sdk::config::{ByteSize, HumanDuration, Secret};
use headgate_sdk::{BuildError, Connector, Source, SourceContext, SourceError, SourceInfo};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ConfigError, Loaded, Loader};
use crate::connectors::Registration;

/// A connector that takes pushes: it mounts a path and needs secrets.
struct Push;

/// Takes pushes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PushConfig {
    /// The secrets that signatures are checked with. Several during a rotation.
    #[schemars(length(min = 1))]
    secrets: Vec<Secret>,
    /// Where it listens.
    path: Option<String>,
    /// How the sender proves itself.
    #[serde(default)]
    scheme: Scheme,
    /// The largest body.
    max_body: Option<ByteSize>,
    /// The longest request.
    timeout: Option<HumanDuration>,
    /// How many at once.
    #[schemars(range(min = 1))]
    concurrency: Option<u32>,
    /// Whether empty bodies are events.
    #[serde(default)]
    empty: bool,
    /// Rules of one's own.
    verify: Option<Verify>,
}

#[derive(Deserialize, JsonSchema, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Scheme {
    /// GitHub's.
    #[default]
    Github,
    /// Stripe's.
    Stripe,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "alg", rename_all = "snake_case", deny_unknown_fields)]
enum Verify {
    /// With a shared secret.
    Hmac {
        /// The header.
        header: String,
    },
    /// With a fixed token.
    Token {
        /// The token.
        token: Secret,
    },
}

/// A connector that pulls.
struct Pull;

/// Pulls.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PullConfig {
    /// The server.
    url: Secret,
    /// What is read.
    tables: Vec<String>,
}

struct Idle;

impl Source for Idle {
    async fn run(self, cx: SourceContext) -> Result<(), SourceError> {
        cx.shutdown.cancelled().await;
        Ok(())
    }
}

impl Connector for Push {
    const NAME: &'static str = "push";
    const SUMMARY: &'static str = "Takes pushes.";
    type Config = PushConfig;
    type Source = Idle;

    fn build(config: PushConfig, _: &SourceInfo) -> Result<Idle, BuildError> {
        let _read = (
            config.max_body,
            config.timeout,
            config.concurrency,
            config.empty,
            &config.secrets,
        );
        if let Some(Verify::Hmac { header }) = &config.verify
            && header.is_empty()
        {
            return Err(BuildError::new(
                "/verify/header",
                "the header's name is empty; write for example `x-signature`",
            ));
        }
        match config.verify {
            Some(Verify::Token { token }) if config.scheme == Scheme::Stripe => {
                drop(token);
                Err(BuildError::new(
                    "/scheme",
                    "`scheme` and `verify` exclude each other; keep one",
                ))
            }
            _ => Ok(Idle),
        }
    }

    fn http_paths(config: &PushConfig, info: &SourceInfo) -> Vec<String> {
        vec![
            config
                .path
                .clone()
                .unwrap_or_else(|| format!("/webhook/{}", info.name)),
        ]
    }
}

impl Connector for Pull {
    const NAME: &'static str = "pull";
    const SUMMARY: &'static str = "Pulls.";
    type Config = PullConfig;
    type Source = Idle;

    fn build(config: PullConfig, _: &SourceInfo) -> Result<Idle, BuildError> {
        match config.url.expose().starts_with("db://") && !config.tables.is_empty() {
            true => Ok(Idle),
            false => Err(BuildError::new(
                "/url",
                "is not the URL of a database; write `db://…`",
            )),
        }
    }
}

/// Two connectors, for tests of whatever needs a whole configuration.
pub(crate) const CONNECTORS: &[Registration] =
    &[Registration::of::<Push>(), Registration::of::<Pull>()];

/// Loads `text` with a small world around it: `SECRET`, `EMPTY`, `PORT` and `DB` are set, `/run/secrets/key` exists.
fn load(text: &str) -> Result<Loaded, ConfigError> {
    let variable = |name: &str| {
        let value = match name {
            "SECRET" => "hunter2",
            "NUMERIC" => "007",
            "EMPTY" => "",
            "PORT" => "127.0.0.1:9000",
            "TEN" => "10",
            "DB" => "db://user:hunter2@host/name",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let file = |path: &Path| match path.to_str() {
        Some("/run/secrets/key") => Ok("hunter2\n".to_owned()),
        Some("/run/secrets/empty") => Ok("\n".to_owned()),
        _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    };
    Loader::new()
        .connectors(CONNECTORS)
        .variables(&variable)
        .files(&file)
        .read(Path::new("headgate.yaml"), text)
}

/// What a bad file is told.
fn told(text: &str) -> String {
    let told = load(text).expect_err("the file is wrong").to_string();
    assert!(!told.contains("hunter2"), "a secret was printed: {told}");
    told
}
