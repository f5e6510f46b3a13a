//! How a newcomer sends a first webhook.

use headgate_sdk::{Example, ExampleContext};
use jiff::Timestamp;

use super::sign::as_curl;
use crate::{
    source::{self, Config},
    verify::{Draft, Signer},
};

const BODY: &str = r#"{"hello":"world"}"#;

/// The command that sends a signed webhook, and the same as `curl`. None for schemes that cannot be signed with what the
/// configuration has.
pub(crate) fn examples(config: &Config, cx: &ExampleContext<'_>) -> Vec<Example> {
    let Some(path) = source::paths(config, cx.source).into_iter().next() else {
        return Vec::new();
    };
    let url = format!("{}{path}", cx.http_url.trim_end_matches('/'));
    let Some(curl) = curl(config, &url) else {
        return Vec::new();
    };
    let send = format!(
        "{} webhook send -c {} --source {} --body '{BODY}'",
        cx.program, cx.config_file, cx.source.name
    );
    vec![
        Example {
            what: "send a signed webhook".into(),
            command: send,
        },
        Example {
            what: "the same with curl, while the signature is fresh".into(),
            command: curl,
        },
    ]
}

fn curl(config: &Config, url: &str) -> Option<String> {
    let scheme = config.resolved_scheme()?;
    let signer = Signer::new(scheme, &config.keys(), None).ok()?;
    let mut draft = Draft {
        method: "POST".into(),
        url: Some(url.to_owned()),
        body: BODY.as_bytes().to_vec(),
        ..Draft::default()
    };
    let json = http::HeaderValue::from_static("application/json");
    draft.headers.insert(http::header::CONTENT_TYPE, json);
    // A static token is the secret itself, which an example must not show.
    let shows_secret = !signer.covers_request();
    let signed = signer.sign(draft, Timestamp::now()).ok()?;
    (!shows_secret).then(|| as_curl(&signed))
}
