//! The command line as scripts use it.

use std::io::Write;

use bytes::Bytes;
use futures::future::BoxFuture;
use headgate_sdk::{
    LaneId, Str,
    command::{AccessError, CommandContext, CommandOutcome, GatewayAccess},
};
use serde_json::Value;

struct NoGateway;

impl GatewayAccess for NoGateway {
    fn control<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, AccessError>> {
        Box::pin(async { Err(AccessError::NotRunning) })
    }

    fn lanes<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<LaneId>, AccessError>> {
        Box::pin(async { Err(AccessError::NotRunning) })
    }

    fn entries<'a>(
        &'a self,
        _: &'a LaneId,
        _: &'a str,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, AccessError>> {
        Box::pin(async { Err(AccessError::NotRunning) })
    }
}

async fn exit_code(arguments: &[String]) -> u8 {
    let matches = match super::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => panic!("{arguments:?}: {error}"),
    };
    let cx = CommandContext {
        sources: &|| Err(CommandOutcome::Failed("there is no configuration".into())),
        gateway: &NoGateway,
    };
    super::run(&matches, cx).await.exit_code()
}

fn arguments(row: &Value, body: &std::path::Path) -> Vec<String> {
    let mut arguments: Vec<String> = ["webhook", "verify", "--quiet", "--scheme"]
        .map(String::from)
        .to_vec();
    arguments.push(row["scheme"].as_str().unwrap().into());
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    for secret in row["secrets"].as_array().unwrap() {
        add("--secret", secret.as_str().unwrap().into());
    }
    if let Some(key) = row["public_key"].as_str() {
        add("--public-key", key.into());
    }
    for (name, value) in row["params"].as_object().into_iter().flatten() {
        add("--param", format!("{name}={}", value.as_str().unwrap()));
    }
    add("--method", row["method"].as_str().unwrap().into());
    if let Some(url) = row["url"].as_str() {
        add("--url", url.into());
    }
    for (name, value) in row["headers"].as_object().unwrap() {
        add("--header", format!("{name}: {}", value.as_str().unwrap()));
    }
    if let Some(now) = row["timestamp_now"].as_i64() {
        add("--now", now.to_string());
    }
    add("--body-file", body.to_str().unwrap().into());
    arguments
}

#[tokio::test]
async fn every_vector_maps_onto_the_options() {
    let vectors = include_str!("../../../../fixtures/webhooks/vectors.jsonl");
    for (number, line) in vectors.lines().enumerate() {
        let row: Value = serde_json::from_str(line).unwrap();
        let mut body = tempfile::NamedTempFile::new().unwrap();
        body.write_all(row["body"].as_str().unwrap_or_default().as_bytes())
            .unwrap();
        let code = exit_code(&arguments(&row, body.path())).await;
        let wanted = u8::from(!row["valid"].as_bool().unwrap());
        assert_eq!(code, wanted, "line {}: {}", number + 1, row["scheme"]);
    }
}

#[tokio::test]
async fn mistakes_on_the_command_line_are_usage() {
    for line in [
        "webhook verify --scheme githab --secret x",
        "webhook sign --scheme discord --secret x",
        "webhook sign --scheme square --secret x",
        "webhook send --scheme github --secret x",
        "webhook verify --scheme github --now 99999999999999",
    ] {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        assert_eq!(exit_code(&words).await, 2, "{line}");
    }
    let unreadable = "webhook verify --scheme github --secret x --body-file /no/such/file";
    let words: Vec<String> = unreadable.split(' ').map(String::from).collect();
    assert_eq!(exit_code(&words).await, 3);
}

#[tokio::test]
async fn a_key_that_must_be_fetched_leaves_it_undecided() {
    let body = r#"{"Type":"Notification","Message":"m","MessageId":"1","Timestamp":"t","TopicArn":"a","SignatureVersion":"2",
        "Signature":"AAAA","SigningCertURL":"https://sns.us-east-1.amazonaws.com/x.pem"}"#;
    let arguments = ["webhook", "verify", "--scheme", "aws-sns", "--body", body].map(String::from);
    assert_eq!(exit_code(&arguments).await, 3);
}
