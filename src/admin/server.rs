//! Serves the admin API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::api::Journal;
use super::gateway::Gateway;
use super::openapi::openapi;
use super::problem::problem;
use super::routes::{Shared, router};

/// How often histograms are drained, so that nobody scraping does not mean memory growing.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves `gateway` until `shutdown`, then lets requests under way finish; streams of the log end at once.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<dyn Gateway>,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let upkeep = async {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    };
    let serving = axum::serve(listener, app(gateway, metrics.clone(), shutdown.clone()))
        .with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::select! {
        served = serving => served,
        () = upkeep => Ok(()),
    }
}

/// The whole listener as a service.
pub(super) fn app(
    gateway: Arc<dyn Gateway>,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> Router {
    let health = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(Arc::clone(&gateway));
    let figures = Router::new()
        .route(
            "/metrics",
            get(async move |State(gateway): State<Shared>| {
                let journal = gateway
                    .status()
                    .await
                    .ok()
                    .and_then(|status| status.journal);
                render(metrics.render() + &journal.map_or_else(String::new, of_journal))
            }),
        )
        .with_state(Arc::clone(&gateway));
    let document = Router::new().route("/api/v1/openapi.json", get(async || Json(openapi())));
    Router::new()
        .merge(health)
        .merge(figures)
        .merge(document)
        .merge(router(gateway))
        .fallback(async || {
            let detail = "there is nothing here; see /api/v1/openapi.json".to_owned();
            problem(StatusCode::NOT_FOUND, detail, Vec::new())
        })
        .method_not_allowed_fallback(async || {
            let detail = "this path takes another method; see /api/v1/openapi.json".to_owned();
            problem(StatusCode::METHOD_NOT_ALLOWED, detail, Vec::new())
        })
        .layer(from_fn(no_web_pages))
        .layer(from_fn(move |request: Request, next: Next| {
            let shutdown = shutdown.clone();
            async move { until(shutdown, next.run(request).await) }
        }))
}

async fn ready(State(gateway): State<Shared>) -> Response {
    match gateway.status().await {
        Ok(status) => {
            let code = if status.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            (code, Json(status)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn render(figures: String) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], figures).into_response()
}

/// The journal's figures, taken when somebody asks.
fn of_journal(journal: Journal) -> String {
    let oldest = journal
        .oldest_undelivered
        .and_then(|oldest| oldest.parse::<jiff::Timestamp>().ok());
    let age = oldest.map_or(0.0, |oldest| {
        jiff::Timestamp::now()
            .duration_since(oldest)
            .as_secs_f64()
            .max(0.0)
    });
    let gauge = |name: &str, value: &dyn std::fmt::Display| {
        format!("# TYPE headgate_journal_{name} gauge\nheadgate_journal_{name} {value}\n\n")
    };
    gauge("bytes", &journal.bytes)
        + &gauge("capacity_bytes", &journal.capacity_bytes)
        + &gauge("oldest_undelivered_seconds", &age)
        + &gauge("corruptions", &journal.corruptions)
}

/// A page in an operator's browser must not be able to control a gateway on the same machine.
async fn no_web_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let detail = "requests that come from web pages are refused".to_owned();
        return problem(StatusCode::FORBIDDEN, detail, Vec::new());
    }
    next.run(request).await
}

/// Ends a body that would go on for ever (the log, followed) when the gateway does.
fn until(shutdown: CancellationToken, response: Response) -> Response {
    use futures::StreamExt as _;
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/x-ndjson");
    if !is_stream {
        return response;
    }
    response.map(|body| {
        axum::body::Body::from_stream(
            body.into_data_stream()
                .take_until(shutdown.cancelled_owned()),
        )
    })
}
