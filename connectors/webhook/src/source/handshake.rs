//! What vendors ask before, or instead of, sending events.
//!
//! Invariant: what a stranger can make this answer contain goes back as plain text that no browser runs, or as JSON.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use headgate_sdk::{
    config::Secret,
    http::{Body, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::{
    handler::{busy, problem, text},
    intake::Endpoint,
};
use crate::{
    presets::Handshake,
    verify::{self, Incoming, Keys, Verifier, json_pointer},
};

const PLAIN: &str = "text/plain; charset=utf-8";
const CONFIRM_WITHIN: Duration = Duration::from_secs(8);

/// Questions that headers and URL alone ask.
pub(super) fn without_body(endpoint: &Endpoint, head: &Parts) -> Option<Response> {
    let asks = |handshake| endpoint.handshakes.contains(&handshake);
    let get = head.method == Method::GET;
    if head.method == Method::OPTIONS {
        return cloudevents(endpoint, head);
    }
    if get
        && asks(Handshake::HubChallenge)
        && let Some(challenge) = query(head, "hub.challenge")
    {
        return Some(hub(endpoint, head, &challenge));
    }
    if get
        && asks(Handshake::TwitterCrc)
        && let Some(token) = query(head, "crc_token")
    {
        let mac = first_mac(endpoint, token.as_bytes())?;
        let answer = json!({ "response_token": format!("sha256={}", STANDARD.encode(mac)) });
        return Some(text(StatusCode::OK, "application/json", answer.to_string()));
    }
    if get
        && asks(Handshake::Dropbox)
        && let Some(challenge) = query(head, "challenge")
    {
        return Some(plain(challenge));
    }
    if head.method == Method::POST
        && asks(Handshake::MicrosoftGraph)
        && let Some(token) = query(head, "validationToken")
    {
        return Some(plain(token));
    }
    if get
        && asks(Handshake::Okta)
        && let Some(challenge) = head.headers.get("x-okta-verification-challenge")
    {
        let challenge = String::from_utf8_lossy(challenge.as_bytes());
        let answer = json!({ "verification": challenge });
        return Some(text(StatusCode::OK, "application/json", answer.to_string()));
    }
    if (get || head.method == Method::HEAD) && asks(Handshake::Head) {
        return Some(Response::new(Body::empty()));
    }
    None
}

/// Questions that come unsigned, because they bring the secret.
pub(super) async fn unverified(
    endpoint: &Endpoint,
    head: &Parts,
    body: &Bytes,
) -> Option<Response> {
    let asks = |handshake| endpoint.handshakes.contains(&handshake);
    if asks(Handshake::Asana)
        && !head.headers.contains_key("x-hook-signature")
        && let Some(secret) = head.headers.get("x-hook-secret")
    {
        learn(endpoint, &String::from_utf8_lossy(secret.as_bytes())).await;
        let mut answer = Response::new(Body::empty());
        answer
            .headers_mut()
            .insert(HeaderName::from_static("x-hook-secret"), secret.clone());
        return Some(answer);
    }
    if asks(Handshake::Notion)
        && !head.headers.contains_key("x-notion-signature")
        && let Some(token) = json_text(body, "/verification_token")
    {
        learn(endpoint, &token).await;
        return Some(Response::new(Body::empty()));
    }
    if asks(Handshake::WoocommercePing)
        && !head.headers.contains_key("x-wc-webhook-signature")
        && body
            .strip_prefix(b"webhook_id=")
            .is_some_and(|id| !id.is_empty() && id.iter().all(u8::is_ascii_digit))
    {
        return Some(status(StatusCode::OK));
    }
    None
}

/// Questions that come signed.
pub(super) async fn verified(endpoint: &Endpoint, incoming: &Incoming<'_>) -> Option<Response> {
    let ask = |handshake| endpoint.handshakes.contains(&handshake);
    let body = incoming.body;
    if ask(Handshake::Slack) && json_text(body, "/type").as_deref() == Some("url_verification") {
        return json_text(body, "/challenge").map(plain);
    }
    if ask(Handshake::Zoom)
        && json_text(body, "/event").as_deref() == Some("endpoint.url_validation")
        && let Some(token) = json_text(body, "/payload/plainToken")
    {
        let mac = first_mac(endpoint, token.as_bytes())?;
        let answer = json!({ "plainToken": token, "encryptedToken": hex::encode(mac) });
        return Some(text(StatusCode::OK, "application/json", answer.to_string()));
    }
    if ask(Handshake::Twitch) {
        let kind = incoming.headers.get("twitch-eventsub-message-type");
        if kind.is_some_and(|kind| kind == "webhook_callback_verification") {
            return json_text(body, "/challenge").map(plain);
        }
    }
    if ask(Handshake::DiscordPing) {
        // An interaction's PING is of type 1, that of webhook events of type 0, and an event itself is of type 1, too.
        let kind = json_pointer(body, "/type").map(|kind| kind.raw());
        match kind {
            Some("0") => return Some(text(StatusCode::NO_CONTENT, "application/json", "")),
            Some("1") if json_pointer(body, "/event").is_none() => {
                return Some(text(StatusCode::OK, "application/json", r#"{"type":1}"#));
            }
            _ => {}
        }
    }
    if ask(Handshake::Xero)
        && json_pointer(body, "/events").is_some_and(|events| {
            serde_json::from_str::<Vec<Value>>(events.raw()).is_ok_and(|events| events.is_empty())
        })
    {
        return Some(Response::new(Body::empty()));
    }
    if ask(Handshake::AwsSns) {
        return match json_text(body, "/Type").as_deref() {
            Some("SubscriptionConfirmation") => Some(confirm(endpoint, body).await),
            Some("UnsubscribeConfirmation") => {
                tracing::warn!(source = %endpoint.source_name, "the SNS subscription was ended");
                Some(Response::new(Body::empty()))
            }
            _ => None,
        };
    }
    None
}

/// CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery", section 4.
fn cloudevents(endpoint: &Endpoint, head: &Parts) -> Option<Response> {
    let origin = head
        .headers
        .get("webhook-request-origin")?
        .to_str()
        .ok()?
        .trim();
    let allowed = &endpoint.config.webhook_origins;
    let fits = |one: &String| one == "*" || one.eq_ignore_ascii_case(origin);
    if !allowed.iter().any(fits) {
        return Some(problem(
            StatusCode::FORBIDDEN,
            "Not allowed",
            "This origin may not send events here.",
        ));
    }
    let mut answer = Response::new(Body::empty());
    let methods: Vec<&str> = endpoint.methods.iter().map(Method::as_str).collect();
    let fields = [
        ("webhook-allowed-origin", origin.to_owned()),
        ("webhook-allowed-rate", "*".to_owned()),
        ("allow", methods.join(", ")),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    Some(answer)
}

fn hub(endpoint: &Endpoint, head: &Parts, challenge: &str) -> Response {
    let token = query(head, "hub.verify_token").unwrap_or_default();
    let wanted = endpoint
        .params
        .get("verify_token")
        .map(String::as_str)
        .unwrap_or_default();
    let fits = !wanted.is_empty()
        && verify::equal(
            &verify::sha256(wanted.as_bytes()),
            &verify::sha256(token.as_bytes()),
        );
    if fits && query(head, "hub.mode").as_deref() == Some("subscribe") {
        return plain(challenge.to_owned());
    }
    tracing::warn!(source = %endpoint.source_name,
        "a subscription was not confirmed: `verify_token` under `params` is not what the sender says");
    problem(
        StatusCode::FORBIDDEN,
        "Not verified",
        "The verify token is not the configured one.",
    )
}

async fn confirm(endpoint: &Endpoint, body: &[u8]) -> Response {
    let url = json_text(body, "/SubscribeURL").unwrap_or_default();
    if !endpoint.config.confirm_subscriptions {
        tracing::warn!(source = %endpoint.source_name,
            "an SNS subscription waits for its confirmation: set `confirm_subscriptions: true`, or confirm it at AWS");
        return Response::new(Body::empty());
    }
    if verify::amazon_path(&url).is_none() {
        return problem(
            StatusCode::BAD_REQUEST,
            "Not confirmed",
            "The link is not Amazon's.",
        );
    }
    match endpoint.remote.client().get(&url, CONFIRM_WITHIN).await {
        Ok(_) => {
            tracing::info!(source = %endpoint.source_name, "an SNS subscription was confirmed");
            Response::new(Body::empty())
        }
        Err(error) => {
            tracing::warn!(source = %endpoint.source_name, error, "an SNS subscription could not be confirmed");
            busy("The subscription's link does not answer.")
        }
    }
}

fn query(head: &Parts, name: &str) -> Option<String> {
    verify::form_pairs(head.uri.query()?.as_bytes())
        .find(|(key, _)| key == name)
        .and_then(|(_, value)| value.as_str().map(str::to_owned))
}

fn json_text(body: &[u8], pointer: &str) -> Option<String> {
    json_pointer(body, pointer)?
        .into_text()
        .map(std::borrow::Cow::into_owned)
}

fn first_mac(endpoint: &Endpoint, message: &[u8]) -> Option<Vec<u8>> {
    let verifier = endpoint
        .verifier
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    verifier.as_ref()?.first_mac(message)
}

fn status(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// Text that no browser takes for anything else.
fn plain(content: String) -> Response {
    let mut answer = text(StatusCode::OK, PLAIN, content);
    answer.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}

/// Secrets that vendors handed out by a request, in a file that only this user may read.
pub(super) struct Learned {
    path: PathBuf,
    secrets: Mutex<Vec<String>>,
}

impl Learned {
    /// What was learned before.
    pub(super) fn load(path: PathBuf) -> Self {
        let secrets = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Self {
            path,
            secrets: Mutex::new(secrets),
        }
    }

    /// The configured keys and the learned ones.
    pub(super) fn with(&self, mut keys: Keys) -> Keys {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        keys.secrets
            .extend(secrets.iter().map(|secret| Secret::new(secret.as_str())));
        keys
    }

    fn add(&self, secret: &str) -> std::io::Result<()> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if secrets.iter().any(|known| known == secret) {
            return Ok(());
        }
        secrets.push(secret.to_owned());
        // A webhook that is registered anew brings a new secret: the oldest ones have had their time.
        while secrets.len() > 16 {
            secrets.remove(0);
        }
        write_private(&self.path, &serde_json::to_vec(&*secrets)?)
    }
}

fn write_private(path: &std::path::Path, content: &[u8]) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

async fn learn(endpoint: &Endpoint, secret: &str) {
    if secret.is_empty() {
        return;
    }
    if !endpoint.config.learn_secrets {
        tracing::warn!(source = %endpoint.source_name,
            "a vendor handed out a secret: set `learn_secrets: true` while you register the webhook, to keep it");
        return;
    }
    let (learned, secret) = (Arc::clone(&endpoint.learned), secret.to_owned());
    let stored = tokio::task::spawn_blocking(move || learned.add(&secret)).await;
    if !matches!(stored, Ok(Ok(()))) {
        tracing::error!(source = %endpoint.source_name, path = %endpoint.learned.path.display(),
            "a secret could not be stored: it is lost with the next restart");
    }
    let Some(scheme) = endpoint.config.resolved_scheme() else {
        return;
    };
    let keys = endpoint.learned.with(endpoint.config.keys());
    match Verifier::new(scheme, &keys) {
        Ok(verifier) => {
            let mut place = endpoint
                .verifier
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *place = Some(Arc::new(verifier));
            tracing::info!(source = %endpoint.source_name, "a secret was learned");
        }
        Err(_) => {
            tracing::warn!(source = %endpoint.source_name, "a secret was offered that the scheme cannot use")
        }
    }
}
