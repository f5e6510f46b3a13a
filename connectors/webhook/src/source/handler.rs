//! Answers one request, from its first header to its last.

#![expect(
    clippy::result_large_err,
    reason = "an early answer is an answer: it is moved once, to the connection"
)]

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use headgate_sdk::{
    Data, Str, Timestamp,
    admission::{Arrival, Limited},
    envelope,
    http::{Body, Handler, Peer, Problem, Request, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts, uri::Authority};
use serde::Serialize;

use super::{
    SignatureCovers, address,
    body::{self, BodyError},
    email,
    event::{self, Delivery},
    handshake,
    intake::{Busy, Decision, Endpoint, Taken},
    quarantine::Refused,
};
use crate::verify::{Incoming, Verified};

/// When a sender should come back to a gateway that is busy.
const COME_BACK: Duration = Duration::from_secs(5);

/// Mounted at an endpoint's path.
pub(super) struct Webhook(pub(super) Arc<Endpoint>);

impl Handler for Webhook {
    fn handle(&self, request: Request, peer: &Arc<Peer>) -> BoxFuture<'static, Response> {
        let endpoint = Arc::clone(&self.0);
        let peer = peer.address.ip();
        Box::pin(async move {
            answer(&endpoint, request, peer)
                .await
                .unwrap_or_else(|refusal| refusal)
        })
    }
}

/// `Err` is an answer, too: it ends the walk early.
type Step<T> = Result<T, Response>;

async fn answer(endpoint: &Endpoint, request: Request, peer: IpAddr) -> Step<Response> {
    let (head, body) = request.into_parts();
    let client = address::client(peer, &head.headers, &endpoint.trusted);
    if !endpoint.allows(client) {
        return Err(problem(
            StatusCode::FORBIDDEN,
            "Not allowed",
            "This address may not send here.",
        ));
    }
    if let Some(greeting) = handshake::without_body(endpoint, &head) {
        return Ok(greeting);
    }
    check_method(endpoint, &head)?;
    check_failures(endpoint, client)?;
    let arrival = Arrival {
        tenant: &endpoint.tenant,
        client,
        headers: &head.headers,
    };
    let admitted = endpoint
        .admission
        .admit(arrival)
        .map_err(|limit| limited(&limit))?;
    let _room = endpoint
        .crowd
        .enter(endpoint.timeout())
        .await
        .ok_or_else(|| busy("Too many requests of this source are under way."))?;
    let received = Timestamp::now();
    let max = endpoint.config.max_body.as_usize();
    let wire = body::read(&head.headers, body, max, endpoint.timeout())
        .await
        .map_err(body_problem)?;
    if let Some(answer) = handshake::unverified(endpoint, &head, &wire).await {
        return Ok(answer);
    }
    let path_and_query = path_and_query(&head);
    let authority = head.uri.authority().map(Authority::as_str);
    let forwarded = address::addressed(peer, &head.headers, authority, &endpoint.trusted);
    let url = endpoint.url(path_and_query, forwarded.as_deref());
    match verify(endpoint, &head, url.as_deref(), &wire, received).await? {
        Ok((inflated, verified)) => {
            let incoming = Incoming {
                method: head.method.as_str(),
                url: url.as_deref(),
                path_and_query,
                headers: &head.headers,
                body: &inflated,
            };
            let delivery = Delivery {
                incoming,
                body: &inflated,
                received,
                verified: &verified,
            };
            accept(endpoint, &delivery).await
        }
        Err(reason) => {
            admitted.refund();
            refused(endpoint, client, reason.code(), &reason.to_string());
            if let Some(failures) = &endpoint.failures {
                failures.charge(client);
            }
            let kept = Refused::new(endpoint, &head, forwarded, &wire, received);
            endpoint.quarantine.keep(kept).await;
            let answer = problem(
                StatusCode::UNAUTHORIZED,
                "Not verified",
                "The request could not be verified. Check the secret, and that nothing changes the body on its way.",
            );
            Err(answer)
        }
    }
}

pub(super) fn path_and_query(head: &Parts) -> &str {
    head.uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
}

fn check_method(endpoint: &Endpoint, head: &Parts) -> Step<()> {
    if endpoint.methods.contains(&head.method) {
        return Ok(());
    }
    let allowed: Vec<&str> = endpoint.methods.iter().map(Method::as_str).collect();
    let allowed = allowed.join(", ");
    let mut answer = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "Wrong method",
        &format!("Send {allowed} requests here."),
    );
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        answer.headers_mut().insert(header::ALLOW, value);
    }
    Err(answer)
}

/// An address that used up its failures is not listened to for a while.
fn check_failures(endpoint: &Endpoint, client: IpAddr) -> Step<()> {
    match endpoint
        .failures
        .as_ref()
        .and_then(|failures| failures.exhausted(client))
    {
        None => Ok(()),
        Some(limit) => Err(limited(&limit)),
    }
}

/// Verifies the bytes as they came, or inflated, as the configuration says. The inner `Err` is a refusal.
async fn verify(
    endpoint: &Endpoint,
    head: &Parts,
    url: Option<&str>,
    wire: &Bytes,
    received: Timestamp,
) -> Step<Result<(Bytes, Verified), crate::verify::Reason>> {
    let incoming = |body| Incoming {
        method: head.method.as_str(),
        url,
        path_and_query: path_and_query(head),
        headers: &head.headers,
        body,
    };
    let inflate = || {
        let max = endpoint.config.max_inflated.as_usize();
        body::inflate(&head.headers, wire, max).map_err(body_problem)
    };
    let encoded = body::is_encoded(&head.headers);
    let covers = match encoded {
        true => endpoint.config.signature_covers,
        false => SignatureCovers::Received,
    };
    if covers != SignatureCovers::Inflated {
        match endpoint.decide(&incoming(wire), received).await {
            Decision::Verified(verified) => {
                let inflated = if encoded { inflate()? } else { wire.clone() };
                return Ok(Ok((inflated, verified)));
            }
            Decision::Undecided(why) => return Err(undecided(endpoint, &why)),
            Decision::Refused(reason) if covers == SignatureCovers::Received => {
                return Ok(Err(reason));
            }
            Decision::Refused(_) => {}
        }
    }
    let inflated = inflate()?;
    match endpoint.decide(&incoming(&inflated), received).await {
        Decision::Verified(verified) => Ok(Ok((inflated, verified))),
        Decision::Refused(reason) => Ok(Err(reason)),
        Decision::Undecided(why) => Err(undecided(endpoint, &why)),
    }
}

/// What follows verification: handshakes, then events. Also for requests that come back from quarantine.
pub(super) async fn accept(endpoint: &Endpoint, delivery: &Delivery<'_>) -> Step<Response> {
    if let Some(answer) = handshake::verified(endpoint, &delivery.incoming).await {
        return Ok(answer);
    }
    let headers = delivery.incoming.headers;
    let events = if let Some(service) = endpoint.config.inbound_email {
        vec![incoming_email(endpoint, delivery, service).await?]
    } else if envelope::http::is_event(headers) {
        event::cloudevents(endpoint, delivery).map_err(|error| {
            problem(
                StatusCode::BAD_REQUEST,
                "Invalid CloudEvent",
                &error.to_string(),
            )
        })?
    } else {
        vec![event::plain(endpoint, delivery)]
    };
    match endpoint.take(events).await {
        Ok(Taken::First(ids)) => {
            endpoint.outcomes.accepted.increment(1);
            Ok(accepted(endpoint, StatusCode::ACCEPTED, &ids))
        }
        Ok(Taken::Repetition(id)) => {
            endpoint.outcomes.repeated.increment(1);
            Ok(accepted(endpoint, StatusCode::OK, &[id]))
        }
        Err(error) => {
            endpoint.outcomes.busy.increment(1);
            tracing::warn!(source = %endpoint.source_name, %error, "a delivery was turned away; its sender will try again");
            Err(match error {
                Busy::NoRoom => busy("The gateway is catching up."),
                Busy::Delivery(_) => busy("The gateway cannot keep the request now."),
            })
        }
    }
}

async fn incoming_email(
    endpoint: &Endpoint,
    delivery: &Delivery<'_>,
    service: super::InboundEmail,
) -> Step<(headgate_sdk::Envelope, Option<String>)> {
    let content_type = delivery
        .incoming
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mail = email::read(service, content_type, delivery.body, &*endpoint.blobs)
        .await
        .map_err(|error| match error {
            email::EmailError::Malformed(_) => problem(StatusCode::BAD_REQUEST, "Not an e-mail", &error.to_string()),
            email::EmailError::Store(cause) => {
                tracing::error!(source = %endpoint.source_name, error = %cause, "an attachment could not be stored");
                busy("An attachment could not be stored.")
            }
        })?;
    let (mut envelope, mut key) = event::plain(endpoint, delivery);
    if endpoint.config.event_type.is_none() {
        envelope.event_type = Str::new_static(email::EVENT_TYPE);
    }
    if let Some(id) = mail
        .message_id
        .as_deref()
        .filter(|id| key.is_none() && !id.is_empty())
    {
        envelope.id = Str::from(envelope::legal_string(id));
        envelope.correlationid = envelope.id.clone();
        key = Some(id.to_owned());
    }
    let document = serde_json::to_vec(&mail).expect("an e-mail is plain data");
    envelope.data = Data::json(document);
    envelope.datacontenttype = Str::new_static("application/json");
    Ok((envelope, key))
}

fn accepted(endpoint: &Endpoint, status: StatusCode, ids: &[Str]) -> Response {
    let id = ids.first().map_or("", Str::as_str);
    if let Some(respond) = &endpoint.config.respond {
        let body = respond
            .body
            .as_deref()
            .unwrap_or_default()
            .replace("{id}", id);
        let status = StatusCode::from_u16(respond.status).unwrap_or(status);
        return text(status, &respond.content_type, body);
    }
    let body = Accepted {
        id,
        ids: (ids.len() > 1).then_some(ids),
    };
    let body = serde_json::to_vec(&body).expect("texts are plain data");
    text(status, "application/json", body)
}

/// What a sender is told.
#[derive(Serialize)]
struct Accepted<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<&'a [Str]>,
}

/// An answer with a body.
pub(super) fn text(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

pub(super) fn problem(status: StatusCode, title: &'static str, detail: &str) -> Response {
    Problem::new(status, title, detail).into_response()
}

/// 503, and when to come back.
pub(super) fn busy(detail: &str) -> Response {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", detail)
        .retry_after(COME_BACK)
        .into_response()
}

fn undecided(endpoint: &Endpoint, why: &str) -> Response {
    tracing::warn!(source = %endpoint.source_name, why, "a delivery could not be verified now; its sender will try again");
    metrics::counter!("headgate_webhook_refused_total", "source" => endpoint.source_name.to_string(), "reason" => "undecided")
        .increment(1);
    busy("The request cannot be verified at the moment.")
}

fn refused(endpoint: &Endpoint, client: IpAddr, code: &'static str, why: &str) {
    tracing::warn!(source = %endpoint.source_name, tenant = %endpoint.tenant, %client, why, "a request was refused");
    metrics::counter!("headgate_webhook_refused_total", "source" => endpoint.source_name.to_string(), "reason" => code)
        .increment(1);
}

fn body_problem(error: BodyError) -> Response {
    let (status, title) = match error {
        BodyError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "Too large"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Too slow"),
        BodyError::Incomplete => (StatusCode::BAD_REQUEST, "Incomplete"),
        BodyError::UnsupportedCoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported coding"),
        BodyError::Corrupt => (StatusCode::BAD_REQUEST, "Corrupt body"),
    };
    problem(status, title, &error.to_string())
}

/// 429 with `Retry-After` and the fields of the IETF's draft on rate limits.
fn limited(limit: &Limited) -> Response {
    let mut answer = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests",
        "The limit of requests is reached. Send the request again later.",
    )
    .retry_after(limit.retry_after)
    .into_response();
    let wait = limit.retry_after.as_secs() + u64::from(limit.retry_after.subsec_nanos() > 0);
    let policy: String = limit
        .policy
        .chars()
        .filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
        .collect();
    let fields = [
        (
            "ratelimit-policy",
            format!(
                "\"{policy}\";q={};w={}",
                limit.quota,
                limit.window.as_secs().max(1)
            ),
        ),
        ("ratelimit", format!("\"{policy}\";r=0;t={}", wait.max(1))),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the future of a function takes, and how it lies.
    const fn layout<'e, F>(_: fn(&'e Endpoint, Request, IpAddr) -> F) -> (usize, usize) {
        (size_of::<F>(), align_of::<F>())
    }

    #[test]
    fn a_request_under_way_takes_less_than_a_page() {
        let (bytes, alignment) = layout(answer);
        assert!(bytes < 4096, "{bytes} bytes");
        assert!(alignment <= 16, "a timer lies in it: {alignment}");
    }
}
