//! How often a vendor is asked, and what is believed of its answers.

use std::{collections::BTreeMap, time::Duration};

use tokio_util::task::TaskTracker;

use super::vendor::{Authority, Reply, Vendor};
use crate::{
    source::keys::remote::{Pace, Remote},
    verify::{KeyLookup, KeyRequest, Published},
};

const LONG: Duration = Duration::from_secs(3600);
const PACE: Pace = Pace {
    fresh: LONG,
    stale: LONG,
    again: LONG,
    retry: LONG,
    within: Duration::from_secs(20),
    per_minute: 1000,
};
/// RFC 8032's first public key.
const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn remote(vendor: &Vendor, pace: Pace) -> Remote {
    Remote::with_pace(&vendor.net(), TaskTracker::new(), pace).unwrap()
}

fn request(kid: &str) -> KeyRequest {
    KeyRequest {
        url: "https://keys.example.com/jwks.json".into(),
        kid: Some(kid.into()),
        published: Published::Document,
    }
}

fn jwks(kids: &[&str]) -> Reply {
    let keys: Vec<String> = kids
        .iter()
        .map(|kid| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{KEY}"}}"#))
        .collect();
    Reply::Text(200, format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
}

async fn fetch(remote: &Remote, request: &KeyRequest) -> Result<(), String> {
    remote.fetch(request, &BTreeMap::new()).await
}

#[tokio::test]
async fn keys_are_fetched_once_for_all_who_wait() {
    let vendor = Vendor::open().await;
    vendor.says(jwks(&["a"]));
    let remote = remote(&vendor, PACE);
    assert!(remote.lookup(&request("a")).is_none());
    let wanted = request("a");
    let all = (0..16).map(|_| fetch(&remote, &wanted));
    for outcome in futures::future::join_all(all).await {
        outcome.unwrap();
    }
    assert!(remote.lookup(&request("a")).is_some());
    assert_eq!(
        vendor.asked(),
        ["keys.example.com GET /jwks.json HTTP/1.1 "]
    );
}

#[tokio::test]
async fn a_new_key_is_found_and_an_unknown_one_is_not_asked_for_twice() {
    let vendor = Vendor::open().await;
    vendor.says(jwks(&["a"]));
    let eager = Pace {
        again: Duration::ZERO,
        ..PACE
    };
    let rotating = remote(&vendor, eager);
    fetch(&rotating, &request("a")).await.unwrap();
    vendor.says(jwks(&["a", "b"]));
    assert!(rotating.lookup(&request("b")).is_none());
    fetch(&rotating, &request("b")).await.unwrap();
    assert!(rotating.lookup(&request("b")).is_some());
    assert_eq!(vendor.asked().len(), 2);

    let patient = remote(&vendor, PACE);
    fetch(&patient, &request("a")).await.unwrap();
    // The vendor has just said which keys it has: a stranger's invention is decided, and costs nothing.
    let found = patient.lookup(&request("invented")).unwrap();
    assert!(!found.has(Some("invented")));
    fetch(&patient, &request("invented")).await.unwrap();
    assert_eq!(vendor.asked().len(), 3);
}

#[tokio::test]
async fn an_outage_leaves_known_keys_in_use_and_unknown_ones_undecided() {
    let mut vendor = Vendor::open().await;
    vendor.says(jwks(&["a"]));
    let expiring = Pace {
        fresh: Duration::ZERO,
        ..PACE
    };
    let remote = remote(&vendor, expiring);
    fetch(&remote, &request("a")).await.unwrap();
    assert!(remote.lookup(&request("a")).is_none(), "no longer fresh");
    vendor.close().await;
    fetch(&remote, &request("a")).await.unwrap();
    assert!(
        remote.lookup(&request("a")).is_some(),
        "but better than none"
    );
    assert!(remote.lookup(&request("b")).is_none());
    let error = fetch(&remote, &request("b")).await.unwrap_err();
    assert!(error.contains("a moment ago"), "{error}");
}

#[tokio::test]
async fn failures_are_remembered_and_fetches_counted() {
    let vendor = Vendor::open().await;
    let pace = Pace {
        per_minute: 3,
        ..PACE
    };
    let remote = remote(&vendor, pace);
    let error = fetch(&remote, &request("a")).await.unwrap_err();
    assert!(error.contains("404"), "{error}");
    let error = fetch(&remote, &request("a")).await.unwrap_err();
    assert!(error.contains("a moment ago"), "{error}");
    assert_eq!(vendor.asked().len(), 1);
    for number in 0..10 {
        let elsewhere = KeyRequest {
            url: format!("https://sns.eu-central-1.amazonaws.com/{number}.pem"),
            ..request("a")
        };
        fetch(&remote, &elsewhere).await.unwrap_err();
    }
    assert_eq!(vendor.asked().len(), 3, "so many a minute, not more");
}

#[tokio::test]
async fn places_that_hold_nothing_never_push_out_keys() {
    let vendor = Vendor::open().await;
    vendor.says(jwks(&["a"]));
    let remote = remote(&vendor, PACE);
    fetch(&remote, &request("a")).await.unwrap();
    vendor.says(Reply::Text(404, String::new()));
    for number in 0..80 {
        let elsewhere = KeyRequest {
            url: format!("https://keys.example.com/{number}"),
            ..request("a")
        };
        fetch(&remote, &elsewhere).await.unwrap_err();
    }
    assert!(remote.lookup(&request("a")).is_some());
}

#[tokio::test]
async fn only_a_short_prompt_direct_answer_over_tls_is_believed() {
    let impatient = Pace {
        retry: Duration::ZERO,
        again: Duration::ZERO,
        within: Duration::from_millis(300),
        ..PACE
    };
    let vendor = Vendor::open().await;
    let hasty = remote(&vendor, impatient);
    let patient = remote(
        &vendor,
        Pace {
            retry: Duration::ZERO,
            ..PACE
        },
    );
    for (reply, remote, wanted) in [
        (
            Reply::Redirect("https://keys.example.com/other"),
            &patient,
            "302",
        ),
        (Reply::Endless, &patient, "too long"),
        (Reply::Text(500, String::new()), &patient, "500"),
        (
            Reply::Text(200, "<html>".into()),
            &patient,
            "neither PEM, nor a JWKS",
        ),
        (Reply::Silence, &hasty, "did not answer within"),
    ] {
        vendor.says(reply.clone());
        let error = fetch(remote, &request("a")).await.unwrap_err();
        assert!(error.contains(wanted), "{reply:?}: {error}");
        assert!(remote.lookup(&request("a")).is_none());
    }
    let followed = vendor
        .asked()
        .into_iter()
        .find(|asked| asked.contains("/other"));
    assert_eq!(followed, None, "a redirect is not followed");
    let plain = KeyRequest {
        url: "http://keys.example.com/jwks.json".into(),
        ..request("a")
    };
    let error = fetch(&patient, &plain).await.unwrap_err();
    assert!(error.contains("not https"), "{error}");
    // A host that its certificate does not name.
    let stranger = KeyRequest {
        url: "https://other.example.com/jwks.json".into(),
        ..request("a")
    };
    vendor.says(jwks(&["a"]));
    let error = fetch(&patient, &stranger).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_sender_that_leaves_does_not_break_the_fetch_off() {
    let vendor = Vendor::open().await;
    vendor.says(jwks(&["a"]));
    let remote = remote(&vendor, PACE);
    {
        let wanted = request("a");
        let nothing = BTreeMap::new();
        let mut leaving = std::pin::pin!(remote.fetch(&wanted, &nothing));
        while vendor.asked().is_empty() {
            let _pending = futures::poll!(&mut leaving);
            tokio::task::yield_now().await;
        }
    }
    let there = async {
        while remote.lookup(&request("a")).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PACE.within, there).await.unwrap();
}

#[tokio::test]
async fn a_certificate_needs_a_chain_a_name_and_time() {
    let vendor = Vendor::open().await;
    let eager = Pace {
        retry: Duration::ZERO,
        again: Duration::ZERO,
        ..PACE
    };
    let certificate = KeyRequest {
        url: "https://api.paypal.com/v1/notifications/certs/CERT-1".into(),
        kid: None,
        published: Published::CertificateOf("paypal.com"),
    };
    let host = "messageverificationcerts.paypal.com";
    let intermediate = vendor.authority.below();
    let unrelated = intermediate.certificate_for(host, 2999);
    let alone = unrelated
        .split_inclusive("-----END CERTIFICATE-----")
        .next();
    for (pem, wanted) in [
        (
            Authority::new().certificate_for(host, 2999),
            "no public authority",
        ),
        (alone.unwrap().to_owned(), "no public authority"),
        (
            vendor.authority.certificate_for(host, 2000),
            "no public authority",
        ),
        (
            vendor
                .authority
                .certificate_for("paypal.com.example.com", 2999),
            "not for a host of paypal.com",
        ),
        (
            vendor.authority.certificate_for("notpaypal.com", 2999),
            "not for a host of paypal.com",
        ),
        (String::new(), "no certificate"),
    ] {
        vendor.says(Reply::Text(200, pem));
        let remote = remote(&vendor, eager);
        let error = fetch(&remote, &certificate).await.unwrap_err();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    for pem in [
        vendor.authority.certificate_for(host, 2999),
        intermediate.certificate_for(host, 2999),
    ] {
        vendor.says(Reply::Text(200, pem));
        let remote = remote(&vendor, eager);
        fetch(&remote, &certificate).await.unwrap();
        assert_eq!(remote.lookup(&certificate).unwrap().0.len(), 1);
    }
}
