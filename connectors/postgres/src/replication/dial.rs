//! Where the server is and how to reach it: one URL for the replication connection and the control plane.

use std::{io, path::PathBuf, time::Duration};

use postgres_protocol::message::frontend;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::config::{ChannelBinding, Host, SslMode};

use super::{ReplicationError, Tls, TlsError, TlsMode};

/// A byte stream to a server.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// A server and the credentials for it, read from a URL or a libpq keyword string.
#[derive(Clone)]
pub(crate) struct Server {
    pub(super) config: tokio_postgres::Config,
    pub(crate) mode: TlsMode,
    tls: Option<Tls>,
}

/// A wire that is ready for the startup message.
pub(super) struct Dialed {
    pub(super) wire: Box<dyn Wire>,
    /// The hash that SCRAM binds to; `None` without TLS or where the certificate has none.
    pub(super) server_end_point: Option<Vec<u8>>,
    pub(super) encrypted: bool,
}

/// Session settings that values are read under, and warnings heard. They go into the startup message, so that no role or database setting
/// overrides them.
pub(crate) const PINNED: &str = "-c datestyle=ISO -c intervalstyle=iso_8601 -c timezone=UTC -c extra_float_digits=3 \
     -c bytea_output=hex -c xmlbinary=base64 -c search_path=pg_catalog -c statement_timeout=0 -c lock_timeout=0 \
     -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=off -c client_min_messages=warning";

impl Server {
    /// Reads `url`. Does no I/O except for certificate authorities.
    ///
    /// # Errors
    /// A sentence that never repeats the URL, which holds a password.
    pub(crate) fn parse(url: &str, ca: Option<PathBuf>, name: &str) -> Result<Self, String> {
        let (url, mode, ca_of_url) = take_tls_parameters(url);
        let ca = ca.or(ca_of_url);
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                format!(
                    "not a Postgres URL such as postgres://user:password@host:5432/database: {why}"
                )
            })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("the URL names no host".into());
        }
        if config.get_user().is_none() {
            return Err("the URL names no user".into());
        }
        let mode = mode.unwrap_or(match config.get_ssl_mode() {
            SslMode::Disable => TlsMode::Disable,
            SslMode::Require => TlsMode::Require,
            _ => TlsMode::Prefer,
        });
        let mode = if ca.is_some() && mode == TlsMode::Require {
            TlsMode::VerifyCa
        } else {
            mode
        };
        config.ssl_mode(match mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if config.get_application_name().is_none() {
            config.application_name(name);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        let options = match config.get_options() {
            Some(own) => format!("{own} {PINNED}"),
            None => PINNED.to_owned(),
        };
        config.options(options);
        let tls = match mode {
            TlsMode::Disable => None,
            mode => Some(Tls::new(mode, ca.as_deref()).map_err(|e| e.to_string())?),
        };
        Ok(Self { config, mode, tls })
    }

    /// The database.
    pub(crate) fn database(&self) -> &str {
        self.config
            .get_dbname()
            .or_else(|| self.config.get_user())
            .unwrap_or_default()
    }

    /// The role.
    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// Host and port for messages.
    pub(crate) fn address(&self) -> String {
        self.targets()
            .into_iter()
            .map(|(host, port)| match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Whether nothing but this machine lies between.
    pub(crate) fn is_local(&self) -> bool {
        self.targets().iter().all(|(host, _)| match host {
            Host::Unix(_) => true,
            Host::Tcp(host) => {
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_loopback())
            }
        })
    }

    /// The SASL binding policy of the URL.
    pub(super) fn channel_binding(&self) -> ChannelBinding {
        self.config.get_channel_binding()
    }

    /// An ordinary session. The returned future must be polled for the client to work; the caller owns it.
    pub(crate) async fn control(
        &self,
    ) -> Result<
        (
            tokio_postgres::Client,
            futures::future::BoxFuture<'static, ()>,
        ),
        tokio_postgres::Error,
    > {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                Ok((client, Box::pin(async move { drop(connection.await) })))
            }
            None => {
                let (client, connection) = self.config.connect(tokio_postgres::NoTls).await?;
                Ok((client, Box::pin(async move { drop(connection.await) })))
            }
        }
    }

    fn targets(&self) -> Vec<(Host, u16)> {
        let hosts: Vec<Host> = if self.config.get_hosts().is_empty() {
            let addresses = self.config.get_hostaddrs().iter();
            addresses.map(|ip| Host::Tcp(ip.to_string())).collect()
        } else {
            self.config.get_hosts().to_vec()
        };
        let ports = self.config.get_ports();
        hosts
            .into_iter()
            .enumerate()
            .map(|(i, host)| {
                let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
                (host, port)
            })
            .collect()
    }

    /// Opens the first host that answers.
    pub(super) async fn dial(&self) -> Result<Dialed, ReplicationError> {
        let mut last = None;
        for (host, port) in self.targets() {
            let limit = self
                .config
                .get_connect_timeout()
                .copied()
                .unwrap_or(Duration::from_secs(10));
            match tokio::time::timeout(limit, self.dial_one(&host, port)).await {
                Ok(Ok(dialed)) => return Ok(dialed),
                Ok(Err(error)) => last = Some(error),
                Err(_) => {
                    let timed_out =
                        io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection");
                    last = Some(timed_out.into());
                }
            }
        }
        Err(last.unwrap_or_else(|| ReplicationError::Protocol("the URL names no host".into())))
    }

    async fn dial_one(&self, host: &Host, port: u16) -> Result<Dialed, ReplicationError> {
        let host = match host {
            Host::Unix(folder) => {
                let socket = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
                return Ok(plain(Box::new(socket)));
            }
            Host::Tcp(host) => host,
        };
        let mut socket = TcpStream::connect((host.as_str(), port)).await?;
        socket.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(plain(Box::new(socket)));
        };
        let mut request = bytes::BytesMut::new();
        frontend::ssl_request(&mut request);
        socket.write_all(&request).await?;
        match socket.read_u8().await? {
            b'S' => {
                let stream = tls.handshake(socket, host).await?;
                Ok(Dialed {
                    server_end_point: stream.server_end_point(),
                    wire: Box::new(stream),
                    encrypted: true,
                })
            }
            _ if self.mode == TlsMode::Prefer => Ok(plain(Box::new(socket))),
            _ => Err(TlsError::Refused.into()),
        }
    }
}

fn plain(wire: Box<dyn Wire>) -> Dialed {
    Dialed {
        wire,
        server_end_point: None,
        encrypted: false,
    }
}

/// Takes out of a URL what `tokio-postgres` does not read: `sslmode=verify-*` and `sslrootcert`.
fn take_tls_parameters(url: &str) -> (String, Option<TlsMode>, Option<PathBuf>) {
    let (mut mode, mut ca) = (None, None);
    let mut take = |name: &str, value: &str| {
        match (name, value) {
            ("sslmode", "verify-ca") => mode = Some(TlsMode::VerifyCa),
            ("sslmode", "verify-full") => mode = Some(TlsMode::VerifyFull),
            ("sslrootcert", path) => ca = Some(PathBuf::from(path)),
            _ => return false,
        }
        true
    };
    let rest = if let Some((head, query)) = url.split_once('?') {
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.split_once('=').is_some_and(|(n, v)| take(n, v)))
            .collect();
        if kept.is_empty() {
            head.to_owned()
        } else {
            format!("{head}?{}", kept.join("&"))
        }
    } else if url.contains("://") {
        url.to_owned()
    } else {
        let kept: Vec<&str> = url
            .split_whitespace()
            .filter(|pair| !pair.split_once('=').is_some_and(|(n, v)| take(n, v)))
            .collect();
        kept.join(" ")
    };
    (rest, mode, ca)
}
