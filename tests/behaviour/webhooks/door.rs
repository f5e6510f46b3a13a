//! What is decided at the door: limits, before a body is read.

use hyper::StatusCode;

use super::signing::{SECRET, plain, signed};
use crate::support::{gateway::Place, http::Client};

#[tokio::test]
async fn the_limit_is_429_with_the_standard_headers_and_another_source_does_not_notice() {
    let sections = format!(
        r#"
sources:
  github: {{ type: webhook, scheme: github, secrets: ["{SECRET}"] }}
  gitea: {{ type: webhook, scheme: gitea, secrets: ["{SECRET}"] }}
pipeline:
  - rate_limit: {{ name: hourly, per: source, limit: 3/hour, on_limit: reject }}
"#
    );
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    let mut client = Client::connect(running.http).await.unwrap();
    // Forgeries are refused, and cost the vendor nothing of what it may send.
    for _ in 0..5 {
        let forged = plain(
            "POST",
            "/webhook/github",
            &[("x-hub-signature-256", "sha256=00")],
            "{}",
        );
        let answer = client.exchange(forged).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    for number in 0..3 {
        let body = format!(r#"{{"n":{number}}}"#);
        let answer = client.exchange(signed("github", &[], &body)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{answer:?}");
    }
    let answer = client.exchange(signed("github", &[], "{}")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let field = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let wait: u64 = field("retry-after").parse().unwrap();
    assert!((1..=1200).contains(&wait), "{wait}");
    assert_eq!(field("ratelimit-policy"), "\"hourly\";q=3;w=3600");
    assert_eq!(field("ratelimit"), format!("\"hourly\";r=0;t={wait}"));
    assert_eq!(field("content-type"), "application/problem+json");
    let answer = client.exchange(signed("gitea", &[], "{}")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    drop(client);
    place.logged(4).await;
    assert!(running.stop().success());
    assert_eq!(place.tail().len(), 4);
}

#[tokio::test]
async fn validate_warns_of_a_signed_url_that_nobody_knows() {
    let folder = tempfile::tempdir().unwrap();
    let source = r#"sources: { square: { type: webhook, scheme: square, secrets: [x] } }"#;
    let place = Place::new(folder.path(), source);
    let said = |place: &Place| {
        let output = place.command(&["validate"]);
        assert!(output.status.success(), "{output:?}");
        [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .concat()
    };
    let text = said(&place);
    assert!(
        text.contains("public_url") && text.contains("(warning)"),
        "{text}"
    );
    place.configure(&format!("public_url: https://hooks.example.com\n{source}"));
    let text = said(&place);
    assert!(!text.contains("warning"), "{text}");
}
