//! The suite that every connector passes.

use std::ops::Range;

use headgate_sdk::{
    Envelope,
    conformance::{Subject, World, passes},
    http::Body,
};
use headgate_webhook::Webhook;
use serde_json::{Value, json};

use super::support::{SECRET, header, post, request, signed};

struct Vendor;

impl Subject for Vendor {
    type Connector = Webhook;

    fn config(&self) -> Value {
        json!({ "scheme": "github", "secrets": [SECRET] })
    }

    fn bad_configs(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("neither scheme nor verify", json!({ "secrets": [SECRET] })),
            (
                "both scheme and verify",
                json!({ "scheme": "github", "secrets": [SECRET], "verify": { "alg": "token" } }),
            ),
            (
                "an unknown scheme",
                json!({ "scheme": "githab", "secrets": [SECRET] }),
            ),
            ("no secret", json!({ "scheme": "github" })),
            (
                "an empty secret",
                json!({ "scheme": "github", "secrets": [SECRET, ""] }),
            ),
            (
                "a tenant's empty secret",
                json!({ "scheme": "github", "tenants": { "acme": { "secrets": [""] } } }),
            ),
            (
                "an unknown key",
                json!({ "scheme": "github", "secrets": [SECRET], "secret": "x" }),
            ),
            (
                "no network",
                json!({ "scheme": "github", "secrets": [SECRET], "allow": ["everybody"] }),
            ),
            (
                "no digest's secret",
                json!({ "verify": { "alg": "sha256", "signature": { "from": "header:x" } }, "secrets": [SECRET] }),
            ),
            (
                "an unknown atom",
                json!({ "verify": { "alg": "hmac-sha256", "signature": { "from": "header:x" }, "message": "{boddy}" }, "secrets": [SECRET] }),
            ),
        ]
    }

    async fn produce(&mut self, numbers: Range<u64>, world: &World) {
        for number in numbers {
            let body = json!({ "n": number }).to_string();
            let draft = header(
                post(body),
                "x-github-delivery",
                &format!("delivery-{number}"),
            );
            let draft = signed("github", draft);
            // As a vendor does: again until it is accepted.
            loop {
                let attempt = request(draft.clone(), Body::from(draft.body.clone()));
                let answer = world.request(attempt);
                let answer =
                    tokio::time::timeout(std::time::Duration::from_millis(500), answer).await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn number(&self, event: &Envelope) -> Option<u64> {
        let data: Value = serde_json::from_slice(event.data.bytes()?).ok()?;
        data["n"].as_u64()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    passes(async || Vendor).await;
}
