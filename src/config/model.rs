//! The configuration as types: what the runtime is built from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;

use headgate_sdk::config::{ByteSize, HumanDuration};
use headgate_sdk::{SourceInfo, Str};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::claim_check::ClaimCheck;
use crate::connectors::Registration;
use crate::pipeline::{Pipeline, share::Priority};
use crate::sink;

/// The name of the pipeline that serves every source that names none.
pub const DEFAULT_PIPELINE: &str = "default";
/// The name of the sink that `sink:` alone, or no sink at all, stands for.
pub const DEFAULT_SINK: &str = "main";

/// A whole configuration in which nothing is known to be wrong.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything outside of sources, pipelines and sinks.
    pub globals: Globals,
    /// In the order of the file.
    pub sources: Vec<Source>,
    /// Always holds [`DEFAULT_PIPELINE`], empty if none was written.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// In the order of the file; the embedded log if none was written.
    pub sinks: Vec<Sink>,
}

/// A configured source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: Str,
    /// The keys that all sources have.
    pub common: SourceCommon,
    /// Its connector.
    pub connector: Registration,
    /// The connector's own keys, secrets filled in.
    pub keys: Keys,
}

/// A configured sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// Its name.
    pub name: Str,
    /// The keys that all sinks have.
    pub common: sink::Common,
    /// What kind it is, with the keys of that kind.
    pub kind: sink::Kind,
}

/// A source's own keys with secrets filled in; never printed.
#[derive(Clone)]
pub struct Keys(serde_json::Value);

impl Keys {
    pub(crate) fn new(keys: serde_json::Value) -> Self {
        Self(keys)
    }

    /// The keys, for the connector.
    pub fn expose(&self) -> &serde_json::Value {
        &self.0
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Config {
    /// Who `source` is, in a gateway whose `data_dir` holds `instance`.
    pub fn source_info(&self, source: &Source, instance: &Str) -> SourceInfo {
        self.globals.source_info(
            &source.name,
            &source.common,
            source.connector.name,
            instance,
        )
    }
}

/// The keys at the top level besides `sources`, `pipelines` and `sinks`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Globals {
    /// Shared by all instances that work together. Prefixes transactional ids, consumer groups, replication slots and Headgate's
    /// own topics (`{group}.checkpoints`, `{group}.dead-letters`).
    #[serde(default = "Globals::default_group")]
    #[schemars(
        with = "String",
        regex(pattern = r"^[a-z][a-z0-9_-]{0,47}$"),
        extend("errorMessage" = "a group starts with a lower-case letter and goes on with lower-case letters, digits, `-` and `_`, at most 48 in all")
    )]
    pub group: Str,
    /// The tenant of every source that names none: `tenantid` of its events.
    #[serde(default = "Globals::default_tenant")]
    #[schemars(
        with = "String",
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"),
        extend("errorMessage" = "a tenant is made of letters, digits, `.`, `-` and `_`, starts with a letter or digit, and has at most 63 characters")
    )]
    pub tenant: Str,
    /// The URL under which the outside world reaches this gateway, when something in front of it ends TLS. Vendors that sign the
    /// URL sign this one.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "http-url", "examples" = ["https://hooks.example.com"]))]
    pub public_url: Option<Str>,
    /// The directory of the journal, the checkpoints and the embedded log. One gateway at a time may use it.
    #[serde(default = "Globals::default_data_dir")]
    pub data_dir: PathBuf,
    /// The public listener: webhooks only.
    #[serde(default)]
    pub http: Http,
    /// The listener for health, figures and control; keep it off the internet.
    #[serde(default)]
    pub admin: Admin,
    /// How many shards the lanes are spread over: one for each core at the first start, and the same number ever after (it is
    /// stored in `data_dir`; another number is refused).
    #[serde(default)]
    pub shards: Option<NonZeroU16>,
    /// Where payloads are kept that events only refer to.
    #[serde(default)]
    pub claim_check: ClaimCheck,
    /// Bounds on memory, size and time.
    #[serde(default)]
    pub limits: Limits,
    /// What `headgate trace` can tell.
    #[serde(default)]
    pub trace: crate::trace::Config,
}

impl Globals {
    fn default_group() -> Str {
        Str::new_static("headgate")
    }

    fn default_tenant() -> Str {
        Str::new_static("default")
    }

    fn default_data_dir() -> PathBuf {
        PathBuf::from("./data")
    }

    pub(super) fn source_info(
        &self,
        name: &Str,
        common: &SourceCommon,
        connector: &str,
        instance: &Str,
    ) -> SourceInfo {
        let tenant = common.tenant.clone().unwrap_or_else(|| self.tenant.clone());
        SourceInfo {
            name: name.clone(),
            urn: Str::from(format!("urn:headgate:{tenant}:{connector}:{name}")),
            tenant,
            group: self.group.clone(),
            instance: instance.clone(),
            public_url: self.public_url.clone(),
        }
    }
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            group: Self::default_group(),
            tenant: Self::default_tenant(),
            public_url: None,
            data_dir: Self::default_data_dir(),
            http: Http::default(),
            admin: Admin::default(),
            shards: None,
            claim_check: ClaimCheck::default(),
            limits: Limits::default(),
            trace: crate::trace::Config::default(),
        }
    }
}

/// The public listener.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port.
    #[serde(default = "Http::default_listen")]
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub listen: SocketAddr,
    /// Certificates, to speak TLS (HTTP/1.1 and HTTP/2). Without them, a proxy in front must.
    #[serde(default)]
    pub tls: Option<crate::http::TlsConfig>,
}

impl Http {
    fn default_listen() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080)
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Self::default_listen(),
            tls: None,
        }
    }
}

/// The listener for health, figures and control.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address and port.
    #[serde(default = "Admin::default_listen")]
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub listen: SocketAddr,
}

impl Admin {
    fn default_listen() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9600)
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Self::default_listen(),
        }
    }
}

/// Bounds on memory, size and time.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How much a lane may have under way, sent but not yet durable; beyond it, the lane's source waits.
    #[serde(default = "Limits::default_in_flight")]
    pub lane_in_flight: ByteSize,
    /// How long a shutdown may take to drain; what is not durable by then is sent again at the next start.
    #[serde(default = "Limits::default_shutdown")]
    pub shutdown: HumanDuration,
    /// What the journal may take in `data_dir`. It holds what was accepted and is not yet delivered; when it is full, senders get
    /// 503 and come again.
    #[serde(default = "Limits::default_journal")]
    pub journal: ByteSize,
    /// What dead letters may take in `data_dir` (on disk up to twice as much). When they are full, a lane that has another one
    /// waits until somebody retries or discards some.
    #[serde(default = "Limits::default_dead_letters")]
    pub dead_letters: ByteSize,
}

impl Limits {
    fn default_in_flight() -> ByteSize {
        ByteSize::from_mb(64)
    }

    fn default_shutdown() -> HumanDuration {
        HumanDuration::from_secs(30)
    }

    fn default_journal() -> ByteSize {
        ByteSize::from_mb(10_000)
    }

    fn default_dead_letters() -> ByteSize {
        ByteSize::from_mb(1_000)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lane_in_flight: Self::default_in_flight(),
            shutdown: Self::default_shutdown(),
            journal: Self::default_journal(),
            dead_letters: Self::default_dead_letters(),
        }
    }
}

/// The keys that sources of every type have.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceCommon {
    /// The connector.
    pub r#type: String,
    /// The tenant of its events; `tenant` of the top level if absent.
    #[serde(default)]
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"),
        extend("errorMessage" = "a tenant is made of letters, digits, `.`, `-` and `_`, starts with a letter or digit, and has at most 63 characters")
    )]
    pub tenant: Option<Str>,
    /// The pipeline that its events go through; `default` if absent.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// What its events get of a sink that cannot take those of all sources at once: `urgent` sixteen parts, `normal` four, `bulk`
    /// one. A change holds for lanes that are opened after it.
    #[serde(default)]
    pub priority: Priority,
}

impl SourceCommon {
    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        self.pipeline.as_deref().unwrap_or(DEFAULT_PIPELINE)
    }
}
