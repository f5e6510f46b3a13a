//! TLS for the public listener, with client certificates where they are asked for.
//!
//! State: the configuration that new connections get. The files are read again every few seconds; a renewed certificate serves
//! new connections without a restart, and one that cannot be used leaves the old one in place and says so.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Certificates of the public listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain (PEM), the server's own certificate first. Read again when it changes.
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// Authorities (PEM) of client certificates. With it, clients must show one (mTLS).
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether a client may also come without a certificate.
    #[serde(default)]
    pub client_optional: bool,
}

/// Loaded certificates that follow their files.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    look_every: Duration,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(config: TlsConfig) -> Result<Self, TlsError> {
        let current = RwLock::new(server_config(&config)?);
        Ok(Self {
            config,
            look_every: LOOK_EVERY,
            current,
        })
    }

    /// Looks at the files more often than usual.
    #[cfg(test)]
    pub(super) fn looking_every(self, look_every: Duration) -> Self {
        Self { look_every, ..self }
    }

    /// What a new connection gets.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`TlsError`]; the certificates in use stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let renewed = server_config(&self.config)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// Follows the files until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        let mut seen = self.stamps();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.look_every) => {}
            }
            let now = self.stamps();
            if now == seen {
                continue;
            }
            seen = now;
            match self.reload() {
                Ok(()) => {
                    tracing::info!(certificate = %self.config.certificate.display(), "the certificates were read again")
                }
                Err(error) => tracing::error!(%error, "the old certificates stay in use"),
            }
        }
    }

    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let files = [
            Some(&self.config.certificate),
            Some(&self.config.key),
            self.config.client_ca.as_ref(),
        ];
        files
            .into_iter()
            .flatten()
            .map(|file| {
                let metadata = std::fs::metadata(file).ok()?;
                Some((metadata.modified().ok()?, metadata.len()))
            })
            .collect()
    }
}

fn server_config(config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&config.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|error| TlsError::new(&config.key, error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(&config.certificate, error.to_string()))?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(file)? {
                roots
                    .add(authority)
                    .map_err(|error| TlsError::new(file, error.to_string()))?;
            }
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if config.client_optional {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier
                .build()
                .map_err(|error| TlsError::new(file, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::new(&config.key, error.to_string()))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::new(file, error.to_string()))?;
    match found.is_empty() {
        true => Err(TlsError::new(file, "it holds no certificate".into())),
        false => Ok(found),
    }
}

/// The subject of a client's certificate, as RFC 4514 writes it.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    use x509_cert::der::Decode;
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate.subject.to_string().into())
}

/// A certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be used for TLS: {message}; give a PEM file that this user may read", file.display())]
pub struct TlsError {
    file: PathBuf,
    message: String,
}

impl TlsError {
    fn new(file: &Path, message: String) -> Self {
        Self {
            file: file.to_owned(),
            message,
        }
    }
}
