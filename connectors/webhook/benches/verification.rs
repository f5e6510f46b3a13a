//! What verification costs: a delivery of 2 KB under several presets, beside the bare HMAC-SHA256 of the same bytes.
//!
//! `cargo bench -p headgate-webhook --bench verification`.

#[path = "../../../benches/harness/mod.rs"]
mod harness;

use std::hint::black_box;

use harness::{Bound, Contender, compare, measure};
use headgate_sdk::config::Secret;
use headgate_webhook::{
    presets,
    verify::{Draft, Keys, NoLookup, Signer, Verifier},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const REQUESTS: u64 = 50_000;
const SECRET: &str = "a secret of our own";

fn main() {
    let body = body();
    let keyed = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key is long enough");
    let bare = move || {
        measure(REQUESTS, || {
            for _ in 0..REQUESTS {
                let mut mac = keyed.clone();
                mac.update(black_box(body.as_bytes()));
                black_box(mac.finalize());
            }
        })
    };
    let mut contenders: Vec<(Contender<'_>, Bound)> =
        vec![(("bare HMAC-SHA256", Box::new(bare)), Bound::None)];
    for name in ["github", "shopify", "slack", "stripe"] {
        let (verifier, draft) = signed(name);
        let now = jiff::Timestamp::now();
        let run = move || {
            measure(REQUESTS, || {
                for _ in 0..REQUESTS {
                    let request = black_box(&draft).as_incoming();
                    let outcome = verifier.verify(&request, now, &NoLookup);
                    black_box(outcome.expect("the request is signed"));
                }
            })
        };
        contenders.push(((name, Box::new(run)), Bound::AtMost(2.0)));
    }
    compare("Verification of 2 KB", contenders);
}

/// 2048 bytes.
fn body() -> String {
    let (head, tail) = (r#"{"id":"evt_1","type":"a.b","padding":""#, r#""}"#);
    let padding = "x".repeat(2048 - head.len() - tail.len());
    format!("{head}{padding}{tail}")
}

fn signed(name: &str) -> (Verifier, Draft) {
    let scheme = presets::find(name).expect("a preset").verify.clone();
    let keys = Keys {
        secrets: vec![Secret::new(SECRET)],
        ..Keys::default()
    };
    let draft = Draft {
        method: "POST".into(),
        body: body().into_bytes(),
        ..Draft::default()
    };
    let signer = Signer::new(scheme.clone(), &keys, None).expect("a shared secret signs");
    let draft = signer
        .sign(draft, jiff::Timestamp::now())
        .expect("the request can be signed");
    (
        Verifier::new(scheme, &keys).expect("the secret fits"),
        draft,
    )
}
