//! A small HTTPS client: for keys that vendors publish, SNS confirmations, and `headgate webhook send`.
//!
//! Invariants: redirects are never followed; answers are bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::verify::Draft;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// The client; keeps connections.
#[derive(Clone)]
pub(crate) struct Client(HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    pub(crate) fn new() -> Result<Self, String> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(
            HyperClient::builder(TokioExecutor::new()).build(connector),
        ))
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, draft: &Draft, within: Duration) -> Result<Answer, String> {
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
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| format!("the answer of {url} ended early: {error}"))?
                .to_bytes();
            Ok(Answer { status, body })
        };
        tokio::time::timeout(within, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "{url} did not answer within {} s",
                    within.as_secs()
                ))
            })
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
