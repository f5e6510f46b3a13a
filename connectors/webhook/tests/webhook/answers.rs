//! Status codes, problem bodies, and who may come in.

use headgate_sdk::http::Body;
use serde_json::json;

use super::support::{Answer, DEADLINE, Gate, SECRET, header, post, signed, signed_with};

fn is_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string());
    let text = answer.text();
    assert!(!text.contains(SECRET) && !text.contains("sha256"), "{text}");
}

#[tokio::test]
async fn a_signed_delivery_is_202_with_its_id_and_a_repetition_200() {
    let gate = Gate::open(json!({ "scheme": "github", "secrets": [SECRET] })).await;
    let draft = signed(
        "github",
        header(post(r#"{"a":1}"#), "x-github-delivery", "d-1"),
    );
    let first = gate.send(draft.clone()).await;
    assert_eq!((first.status.as_u16(), first.id().as_str()), (202, "d-1"));
    let second = gate.send(draft).await;
    assert_eq!((second.status.as_u16(), second.id().as_str()), (200, "d-1"));
    assert_eq!(gate.event().id, "d-1");
}

#[tokio::test]
async fn what_is_not_verified_is_401_and_no_event() {
    let gate = Gate::open(json!({ "scheme": "github", "secrets": [SECRET, "the next one"] })).await;
    is_problem(&gate.send(post("{}")).await, 401);
    is_problem(
        &gate
            .send(signed_with("github", "another", post("{}")))
            .await,
        401,
    );
    let mut changed = signed("github", post("{}"));
    changed.body.push(b' ');
    is_problem(&gate.send(changed).await, 401);
    assert!(gate.events().is_empty());
    let rotated = gate
        .send(signed_with("github", "the next one", post("{}")))
        .await;
    assert_eq!(rotated.status, 202);
}

#[tokio::test]
async fn other_methods_are_405_and_name_the_right_one() {
    let gate = Gate::open(json!({ "scheme": "github", "secrets": [SECRET] })).await;
    let mut draft = signed("github", post("{}"));
    draft.method = "PUT".into();
    let answer = gate.send(draft).await;
    is_problem(&answer, 405);
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_announced_or_not() {
    let config = json!({ "scheme": "github", "secrets": [SECRET], "max_body": "1KiB" });
    let gate = Gate::open(config).await;
    let draft = signed("github", post(vec![b'x'; 1025]));
    let announced = header(draft.clone(), "content-length", "1025");
    is_problem(&gate.send(announced).await, 413);
    is_problem(&gate.send(draft).await, 413);
    let just = signed("github", post(vec![b'x'; 1024]));
    assert_eq!(gate.send(just).await.status, 202);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408() {
    let config = json!({ "scheme": "github", "secrets": [SECRET], "timeout": "50ms" });
    let gate = Gate::open(config).await;
    let never = futures::stream::pending::<
        Result<
            http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::io::Error>,
            std::io::Error,
        >,
    >();
    let body = Body::new(http_body_util::StreamBody::new(futures::StreamExt::map(
        never,
        |_| Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::new())),
    )));
    is_problem(
        &gate.send_body(signed("github", post("{}")), body).await,
        408,
    );
}

#[tokio::test]
async fn only_listed_networks_may_send_and_only_trusted_proxies_name_them() {
    let config = |proxies: &[&str]| json!({ "scheme": "github", "secrets": [SECRET], "allow": ["198.51.100.0/24"], "trusted_proxies": proxies });
    let forwarded = || {
        header(
            signed("github", post("{}")),
            "x-forwarded-for",
            "198.51.100.9",
        )
    };
    let gate = Gate::open(config(&[])).await;
    is_problem(&gate.send(forwarded()).await, 403);
    let gate = Gate::open(config(&["203.0.113.7"])).await;
    assert_eq!(gate.send(forwarded()).await.status, 202);
    is_problem(&gate.send(signed("github", post("{}"))).await, 403);
}

#[tokio::test]
async fn an_address_that_only_forges_is_429_with_the_standard_headers() {
    let config = json!({ "scheme": "github", "secrets": [SECRET], "unverified_limit": "2/minute" });
    let gate = Gate::open(config).await;
    for _ in 0..2 {
        is_problem(&gate.send(post("{}")).await, 401);
    }
    let answer = gate.send(signed("github", post("{}"))).await;
    is_problem(&answer, 429);
    assert_eq!(
        answer.headers["ratelimit-policy"],
        "\"unverified\";q=2;w=60"
    );
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(
        answer.headers["ratelimit"],
        format!("\"unverified\";r=0;t={wait}")
    );
}

#[tokio::test]
async fn a_lane_without_room_is_503_and_says_when_to_come_back() {
    let config = json!({ "scheme": "github", "secrets": [SECRET], "timeout": "50ms" });
    let gate = Gate::open(config).await;
    gate.world.lanes.pause(true);
    let answer = gate.send(signed("github", post("{}"))).await;
    is_problem(&answer, 503);
    assert!(answer.headers.contains_key("retry-after"));
    gate.world.lanes.pause(false);
    assert_eq!(gate.send(signed("github", post("{}"))).await.status, 202);
}

#[tokio::test]
async fn a_missing_public_url_is_undecided_not_refused() {
    let gate = Gate::open(json!({ "scheme": "square", "secrets": [SECRET] })).await;
    assert!(gate.run.status.warnings().contains_key("public_url"));
    let mut draft = post("{}");
    draft.url = Some("https://hooks.example.com/webhook/subject".into());
    let mut draft = signed("square", draft);
    draft.url = Some("/webhook/subject".into());
    is_problem(&gate.send(draft.clone()).await, 503);
    let config = json!({ "scheme": "square", "secrets": [SECRET], "public_url": "https://hooks.example.com" });
    assert_eq!(
        Gate::open(config).await.send(draft.clone()).await.status,
        202
    );
    let named = header(
        header(draft, "x-forwarded-proto", "https"),
        "x-forwarded-host",
        "hooks.example.com",
    );
    let behind = |proxies: &[&str]| json!({ "scheme": "square", "secrets": [SECRET], "trusted_proxies": proxies });
    let gate = Gate::open(behind(&["203.0.113.7"])).await;
    assert!(gate.run.status.warnings().is_empty());
    assert_eq!(gate.send(named.clone()).await.status, 202);
    is_problem(
        &Gate::open(behind(&["10.0.0.1"])).await.send(named).await,
        503,
    );
}

#[tokio::test]
async fn the_answer_can_be_configured() {
    let config = json!({
        "scheme": "github", "secrets": [SECRET],
        "respond": { "status": 200, "body": "OK {id}", "content_type": "text/plain" }
    });
    let gate = Gate::open(config).await;
    let answer = gate
        .send(signed(
            "github",
            header(post("{}"), "x-github-delivery", "d-9"),
        ))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "OK d-9")
    );
}

#[tokio::test]
async fn tenants_have_paths_and_secrets_of_their_own() {
    let config = json!({
        "scheme": "github",
        "tenants": { "acme": { "secrets": ["acme's"] }, "globex": { "secrets": ["globex's"] } }
    });
    let gate = Gate::open(config).await;
    let mut draft = signed_with("github", "acme's", post("{}"));
    draft.url = Some("/webhook/acme/subject".into());
    assert_eq!(gate.send(draft.clone()).await.status, 202);
    draft.url = Some("/webhook/globex/subject".into());
    is_problem(&gate.send(draft).await, 401);
    let event = gate.event();
    assert_eq!(event.tenantid, "acme");
    assert_eq!(event.source, "urn:headgate:acme:webhook:subject");
}

#[tokio::test]
async fn a_burst_waits_its_turn() {
    let config =
        json!({ "scheme": "github", "secrets": [SECRET], "max_concurrent": 2, "ack": "sink" });
    let gate = Gate::open(config).await;
    gate.world.lanes.hold();
    let burst = (0..32).map(|n| gate.send(signed("github", post(format!("{{\"n\":{n}}}")))));
    let answers = futures::future::join_all(burst);
    let steady = async {
        for batch in 1..=16 {
            let two = |sent: &std::collections::BTreeMap<_, headgate_sdk::conformance::Sent>| {
                sent.values().any(|lane| lane.pending.len() == 2)
            };
            gate.world.lanes.wait_for(two).await;
            assert_eq!(gate.events().len(), batch * 2, "two at once and no more");
            gate.world.lanes.release_up_to(2);
        }
    };
    let both = futures::future::join(answers, steady);
    let (answers, ()) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    assert!(answers.iter().all(|answer| answer.status == 202));
}
