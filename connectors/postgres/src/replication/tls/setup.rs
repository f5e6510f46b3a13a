//! Modes, authorities, and the handshake.

use std::{future::Future, io, path::Path, pin::Pin, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;

use super::{stream::RustlsStream, verify::Lenient};

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl TlsMode {
    /// Whether the server's certificate is checked.
    pub(crate) fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the certificate authority file {path} cannot be read: {message}")]
    Authority { path: String, message: String },
    #[error("no certificate authority is known: set `tls.ca` to a PEM file")]
    NoRoots,
    #[error("TLS cannot be configured: {0}")]
    Config(#[from] rustls::Error),
    #[error("`{0}` is no host name that a certificate can be checked against")]
    Name(String),
    #[error("the server does not offer TLS: set `ssl = on` there, or use `sslmode=disable`")]
    Refused,
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
}

impl TlsError {
    /// Whether trying again cannot help. A handshake fails for good where rustls says so, not where the network does.
    pub(crate) fn stays(&self) -> bool {
        match self {
            Self::Handshake(error) => error.kind() == io::ErrorKind::InvalidData,
            _ => true,
        }
    }
}

/// A TLS configuration that both kinds of connection share.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the authorities (of `ca`, else the system's) and prepares the configuration.
    pub(crate) fn new(mode: TlsMode, ca: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous();
        let verifier: Arc<dyn ServerCertVerifier> = if mode.verifies() {
            let inner = WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots(ca)?),
                Arc::clone(&provider),
            )
            .build()
            .map_err(|_| TlsError::NoRoots)?;
            if mode == TlsMode::VerifyFull {
                inner
            } else {
                Arc::new(Lenient::without_name(inner, provider))
            }
        } else {
            Arc::new(Lenient::anybody(provider))
        };
        let config = builder
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Shakes hands on `stream` with `host`.
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> Result<RustlsStream<S>, TlsError> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
            .map(RustlsStream::new)
            .map_err(TlsError::Handshake)
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() {
            Err(TlsError::NoRoots)
        } else {
            Ok(roots)
        };
    };
    let failed = |message: String| TlsError::Authority {
        path: path.display().to_string(),
        message,
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))? {
        roots
            .add(certificate.map_err(|e| failed(e.to_string()))?)
            .map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".into()));
    }
    Ok(roots)
}

/// Hands the same configuration to `tokio-postgres`.
pub(crate) struct HandshakeWith {
    tls: Tls,
    host: String,
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = RustlsStream<S>;
    type TlsConnect = HandshakeWith;
    type Error = TlsError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<HandshakeWith, TlsError> {
        Ok(HandshakeWith {
            tls: self.clone(),
            host: domain.to_owned(),
        })
    }
}

impl<S> TlsConnect<S> for HandshakeWith
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = RustlsStream<S>;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<RustlsStream<S>, TlsError>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.tls.handshake(stream, &self.host).await })
    }
}
