//! `headgate webhook sign`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use headgate_sdk::command::{CommandContext, CommandOutcome};
use http::{HeaderValue, header::CONTENT_TYPE};
use jiff::Timestamp;

use super::{Outcome, options, print};
use crate::verify::{Draft, PrivateKey, SignError, Signer};

/// Signs a request.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) signing: Signing,
    /// How the request is printed.
    #[arg(long, value_enum, default_value_t = Format::Http)]
    format: Format,
}

/// What is signed, and with what.
#[derive(Debug, Args)]
pub(super) struct Signing {
    #[command(flatten)]
    pub(super) scheme: options::Scheme,
    #[command(flatten)]
    pub(super) request: options::Request,
    /// The private key of a public-key scheme: PEM, or an Ed25519 seed.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
}

/// How a request is printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// As it goes over the wire.
    Http,
    /// A `curl` command, ready to paste.
    Curl,
    /// A JSON object with method, url, headers and body.
    Json,
}

pub(super) fn run(options: &Options, cx: &CommandContext<'_>) -> Outcome {
    let signer = options.signing.signer(cx)?;
    let now = options.signing.request.now()?;
    let signed = options.signing.sign(&signer, now)?;
    print(match options.format {
        Format::Http => as_http(&signed),
        Format::Curl => as_curl(&signed),
        Format::Json => as_json(&signed),
    });
    Ok(CommandOutcome::Fine)
}

impl Signing {
    pub(super) fn signer(&self, cx: &CommandContext<'_>) -> Result<Signer, CommandOutcome> {
        let (scheme, keys) = self.scheme.resolve(cx)?;
        let private = match &self.private_key {
            None => None,
            Some(path) => {
                let text = options::read_text(path)?;
                Some(PrivateKey::parse(&text).map_err(CommandOutcome::Usage)?)
            }
        };
        Signer::new(scheme, &keys, private).map_err(failed)
    }

    /// The request to sign. A body without a media type is JSON if it reads as JSON.
    pub(super) fn draft(&self) -> Result<Draft, CommandOutcome> {
        let mut draft = self.request.draft()?;
        if !draft.body.is_empty() && !draft.headers.contains_key(CONTENT_TYPE) {
            let json = serde_json::from_slice::<serde::de::IgnoredAny>(&draft.body).is_ok();
            let kind = if json {
                "application/json"
            } else {
                "application/octet-stream"
            };
            draft
                .headers
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Ok(draft)
    }

    fn sign(&self, signer: &Signer, now: Timestamp) -> Result<Draft, CommandOutcome> {
        signer.sign(self.draft()?, now).map_err(failed)
    }
}

pub(super) fn failed(error: SignError) -> CommandOutcome {
    CommandOutcome::Usage(error.to_string())
}

fn headers(draft: &Draft) -> impl Iterator<Item = (&str, String)> {
    draft.headers.iter().map(|(name, value)| {
        (
            name.as_str(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    })
}

fn as_http(draft: &Draft) -> String {
    let incoming = draft.as_incoming();
    let mut text = format!("{} {} HTTP/1.1\n", draft.method, incoming.target());
    if let Some(url) = &draft.url
        && let Some(rest) = url.split_once("://").map(|(_, rest)| rest)
    {
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        text.push_str(&format!("host: {host}\n"));
    }
    for (name, value) in headers(draft) {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str(&format!("content-length: {}\n\n", draft.body.len()));
    text.push_str(&String::from_utf8_lossy(&draft.body));
    text
}

pub(super) fn as_curl(draft: &Draft) -> String {
    let mut text = match draft.method.as_str() {
        "POST" => "curl -i".to_owned(),
        method => format!("curl -i -X {method}"),
    };
    for (name, value) in headers(draft) {
        text.push_str(&format!(
            " \\\n  -H {}",
            quoted(&format!("{name}: {value}"))
        ));
    }
    if !draft.body.is_empty() {
        let body = String::from_utf8_lossy(&draft.body);
        text.push_str(&format!(" \\\n  --data-binary {}", quoted(&body)));
    }
    text.push_str(&format!(
        " \\\n  {}",
        quoted(
            draft
                .url
                .as_deref()
                .unwrap_or("http://localhost:8080/webhook/SOURCE")
        )
    ));
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn as_json(draft: &Draft) -> String {
    let headers: serde_json::Map<String, serde_json::Value> = headers(draft)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    serde_json::json!({
        "method": draft.method,
        "url": draft.url,
        "headers": headers,
        "body": String::from_utf8_lossy(&draft.body),
    })
    .to_string()
}
