//! A small HTTPS client: for keys that vendors publish, SNS confirmations, and `headgate webhook send`.
//!
//! Invariants: redirects are never followed; answers are bounded in size and time.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as HyperClient,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::verify::Draft;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Which authorities are believed and where names lead: those of the public Internet, except in this crate's own tests.
#[derive(Clone)]
pub(crate) struct Net {
    pub(crate) authorities: Arc<RootCertStore>,
    /// Where every name leads instead.
    #[cfg(test)]
    pub(crate) instead: Option<std::net::SocketAddr>,
}

impl Net {
    pub(crate) fn public() -> Self {
        Self {
            authorities: Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()),
            #[cfg(test)]
            instead: None,
        }
    }
}

/// Looks names up.
#[derive(Clone)]
struct Names {
    system: GaiResolver,
    #[cfg(test)]
    instead: Option<std::net::SocketAddr>,
}

impl tower::Service<Name> for Names {
    type Response = std::vec::IntoIter<std::net::SocketAddr>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        #[cfg(test)]
        if let Some(instead) = self.instead {
            return Box::pin(async move { Ok(vec![instead].into_iter()) });
        }
        let addresses = self.system.call(name);
        Box::pin(async move { Ok(addresses.await?.collect::<Vec<_>>().into_iter()) })
    }
}

/// The client; keeps connections.
#[derive(Clone)]
pub(crate) struct Client(HyperClient<HttpsConnector<HttpConnector<Names>>, Full<Bytes>>);

impl Client {
    pub(crate) fn new(net: &Net) -> Result<Self, String> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(Arc::clone(&net.authorities))
            .with_no_client_auth();
        let mut http = HttpConnector::new_with_resolver(Names {
            system: GaiResolver::new(),
            #[cfg(test)]
            instead: net.instead,
        });
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self(
            HyperClient::builder(TokioExecutor::new()).build(connector),
        ))
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, draft: &Draft, within: Duration) -> Result<Answer, String> {
        self.send_within(draft, within, MAX_ANSWER_BYTES).await
    }

    /// Sends a request as it is, and reads an answer of at most `max_bytes`.
    pub(crate) async fn send_within(
        &self,
        draft: &Draft,
        within: Duration,
        max_bytes: usize,
    ) -> Result<Answer, String> {
        let url = draft.url.as_deref().unwrap_or_default();
        let mut request = Request::builder().method(draft.method.as_str()).uri(url);
        if let Some(headers) = request.headers_mut() {
            headers.extend(draft.headers.clone());
            if !draft.body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
                headers.insert(
                    header::CONTENT_TYPE,
                    http::HeaderValue::from_static("application/json"),
                );
            }
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(&draft.body)))
            .map_err(|error| format!("`{url}` cannot be requested: {error}"))?;
        let exchange = async {
            let response = self
                .0
                .request(request)
                .await
                .map_err(|error| format!("{url} does not answer: {}", root(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), max_bytes)
                .collect()
                .await
                .map_err(|error| format!("the answer of {url} is cut short or too long: {error}"))?
                .to_bytes();
            Ok(Answer { status, body })
        };
        tokio::time::timeout(within, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("{url} did not answer within {within:?}")))
    }

    /// Fetches a document.
    pub(crate) async fn get(&self, url: &str, within: Duration) -> Result<Bytes, String> {
        let draft = Draft {
            method: "GET".into(),
            url: Some(url.to_owned()),
            ..Draft::default()
        };
        let answer = self.send(&draft, within).await?;
        match answer.status.is_success() {
            true => Ok(answer.body),
            false => Err(format!("{url} answered {}", answer.status)),
        }
    }
}

/// The innermost cause, which is the one that says something.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
