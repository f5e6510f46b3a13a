//! Whole deliveries whose keys must be fetched.

use std::{cell::RefCell, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use headgate_sdk::{
    BuildError, Connector, SourceInfo,
    conformance::{Run, World},
    http::{Body, Request},
    status::State,
};
use http::StatusCode;
use serde_json::{Value, json};

use super::vendor::{Reply, Vendor};
use crate::{
    client::Net,
    presets,
    source::{Config, WebhookSource},
    verify::{Draft, Keys, PrivateKey, Scheme, Signer},
};

const DEADLINE: Duration = Duration::from_secs(120);
const RSA: &str = include_str!("../../../../../../fixtures/webhooks/keys/rsa.pem");
const RSA_CERTIFICATE: &str = include_str!("../../../../../../fixtures/webhooks/keys/rsa.cert.pem");
const P256: &str = include_str!("../../../../../../fixtures/webhooks/keys/p256.pem");
const P256_PUBLIC: &str = include_str!("../../../../../../fixtures/webhooks/keys/p256.pub.pem");
const P521: &str = include_str!("../../../../../../fixtures/webhooks/keys/p521.pem");
const P521_PUBLIC: &str = include_str!("../../../../../../fixtures/webhooks/keys/p521.pub.pem");

thread_local! {
    static NET: RefCell<Option<Net>> = const { RefCell::new(None) };
}

/// The connector, in the tests' own network.
struct Wired;

impl Connector for Wired {
    const NAME: &'static str = "webhook";
    const SUMMARY: &'static str = "";
    type Config = Config;
    type Source = WebhookSource;

    fn build(config: Config, info: &SourceInfo) -> Result<WebhookSource, BuildError> {
        let mut source = WebhookSource::build(config, info)?;
        source.net = NET.take().expect("a test has set it");
        Ok(source)
    }
}

struct Gate {
    world: World,
    _run: Run,
}

impl Gate {
    async fn open(vendor: &Vendor, config: Value) -> Self {
        NET.set(Some(vendor.net()));
        let world = World::new(1 << 20);
        let run = world.start::<Wired>(config).unwrap();
        let ready = async {
            while run.status.get() != State::Ready {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, ready).await.unwrap();
        Self { world, _run: run }
    }

    /// Sends it; the answer's status and whether it says when to come back.
    async fn send(&self, draft: &Draft) -> (u16, bool) {
        let mut request = Request::new(Body::from(draft.body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = "/webhook/subject".parse().unwrap();
        *request.headers_mut() = draft.headers.clone();
        let answer = self.world.request(request).await;
        let again = answer.headers().contains_key("retry-after");
        assert_eq!(
            again,
            answer.status() == StatusCode::SERVICE_UNAVAILABLE,
            "{answer:?}"
        );
        (answer.status().as_u16(), again)
    }
}

fn signed(scheme: &Scheme, key: &str, body: &str) -> Draft {
    let keys = Keys {
        params: [("webhook_id".to_owned(), "WH-1".to_owned())].into(),
        ..Keys::default()
    };
    let private = PrivateKey::parse(key).unwrap();
    let signer = Signer::new(scheme.clone(), &keys, Some(private)).unwrap();
    let draft = Draft {
        method: "POST".into(),
        url: Some("/webhook/subject".into()),
        body: body.as_bytes().to_vec(),
        ..Draft::default()
    };
    signer.sign(draft, jiff::Timestamp::now()).unwrap()
}

fn preset(name: &str) -> &'static Scheme {
    &presets::find(name).unwrap().verify
}

/// The curve's point in a public key's PEM, as a JWK.
fn jwk(curve: &str, pem: &str, half: usize) -> Value {
    use base64::engine::general_purpose::STANDARD;
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).unwrap();
    let (x, y) = der[der.len() - 2 * half..].split_at(half);
    json!({
        "kty": "EC", "crv": curve, "kid": "local",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

fn sns(url: &str, id: &str) -> Draft {
    let body = json!({
        "Type": "Notification", "MessageId": id, "Message": "m", "TopicArn": "arn:aws:sns:eu-central-1:1:t",
        "Timestamp": "2026-01-01T00:00:00.000Z", "SigningCertURL": url,
    });
    signed(preset("aws-sns"), RSA, &body.to_string())
}

#[tokio::test]
async fn sns_certificates_come_from_amazons_hosts_alone_and_once() {
    const AT: &str = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-1.pem";
    let vendor = Vendor::open().await;
    vendor.says(Reply::Text(200, RSA_CERTIFICATE.into()));
    let gate = Gate::open(&vendor, json!({ "scheme": "aws-sns" })).await;
    for foreign in [
        "https://sns.eu-central-1.amazonaws.com.example.com/x.pem",
        "https://keys.example.com/x.pem",
        "http://sns.eu-central-1.amazonaws.com/x.pem",
        "https://sns.eu-central-1.amazonaws.com/?Action=x&x=.pem",
    ] {
        assert_eq!(gate.send(&sns(foreign, "m-0")).await.0, 401, "{foreign}");
    }
    assert!(vendor.asked().is_empty());
    for number in 1..=3 {
        assert_eq!(gate.send(&sns(AT, &format!("m-{number}"))).await.0, 202);
    }
    let mut forged = sns(AT, "m-4");
    forged.body = String::from_utf8(forged.body)
        .unwrap()
        .replace("\"m\"", "\"n\"")
        .into_bytes();
    assert_eq!(gate.send(&forged).await.0, 401);
    assert_eq!(
        vendor.asked(),
        ["sns.eu-central-1.amazonaws.com GET /SimpleNotificationService-1.pem HTTP/1.1 "]
    );
}

#[tokio::test]
async fn a_vendor_that_does_not_answer_leaves_deliveries_to_be_sent_again() {
    const AT: &str = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-1.pem";
    for reply in [
        Some(Reply::Text(500, String::new())),
        Some(Reply::Text(404, String::new())),
        Some(Reply::Redirect("https://keys.example.com/x.pem")),
        Some(Reply::Endless),
        None,
    ] {
        let mut vendor = Vendor::open().await;
        match &reply {
            Some(reply) => vendor.says(reply.clone()),
            None => vendor.close().await,
        }
        let gate = Gate::open(&vendor, json!({ "scheme": "aws-sns" })).await;
        for _ in 0..2 {
            assert_eq!(gate.send(&sns(AT, "m-1")).await, (503, true), "{reply:?}");
        }
        assert!(vendor.asked().len() <= 1, "{reply:?}: {:?}", vendor.asked());
    }
}

#[tokio::test]
async fn sns_subscriptions_are_confirmed_at_amazon_alone_and_when_enabled() {
    const LINK: &str = "/?Action=ConfirmSubscription&Token=t";
    let question = |at: &str| {
        let body = json!({
            "Type": "SubscriptionConfirmation", "MessageId": "m-1", "Message": "m", "Token": "t",
            "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Timestamp": "2026-01-01T00:00:00.000Z",
            "SubscribeURL": format!("https://{at}{LINK}"),
        });
        signed(preset("aws-sns"), RSA, &body.to_string())
    };
    let amazon = "sns.eu-central-1.amazonaws.com";
    let config = |enabled: bool| json!({ "scheme": "aws-sns", "public_keys": [RSA_CERTIFICATE], "confirm_subscriptions": enabled });
    let vendor = Vendor::open().await;
    vendor.says(Reply::Text(200, "<ok/>".into()));
    let waiting = Gate::open(&vendor, config(false)).await;
    assert_eq!(waiting.send(&question(amazon)).await.0, 200);
    let confirming = Gate::open(&vendor, config(true)).await;
    assert_eq!(confirming.send(&question("keys.example.com")).await.0, 400);
    let mut forged = question(amazon);
    forged.body.retain(|byte| *byte != b'2');
    assert_eq!(confirming.send(&forged).await.0, 401);
    assert!(vendor.asked().is_empty());
    assert_eq!(confirming.send(&question(amazon)).await.0, 200);
    assert_eq!(vendor.asked(), [format!("{amazon} GET {LINK} HTTP/1.1 ")]);
    vendor.says(Reply::Text(500, String::new()));
    assert_eq!(confirming.send(&question(amazon)).await.0, 503);
    assert!(
        confirming
            .world
            .lanes
            .sent()
            .values()
            .all(|lane| lane.durable.is_empty())
    );
}

#[tokio::test]
async fn paypals_certificate_is_followed_to_an_authority() {
    let vendor = Vendor::open().await;
    let host = "messageverificationcerts.paypal.com";
    let config = json!({ "scheme": "paypal", "params": { "webhook_id": "WH-1" } });
    let delivery = signed(preset("paypal"), RSA, r#"{"id":"WH-E1","event_type":"a"}"#);
    vendor.says(Reply::Text(200, RSA_CERTIFICATE.into()));
    let gate = Gate::open(&vendor, config.clone()).await;
    assert_eq!(gate.send(&delivery).await.0, 503, "signed by itself");

    vendor.says(Reply::Text(
        200,
        vendor.authority.certificate_for(host, 2999),
    ));
    let gate = Gate::open(&vendor, config).await;
    let mut elsewhere = delivery.clone();
    elsewhere.headers.insert(
        "paypal-cert-url",
        "https://api.paypal.com/v1/other/certs/CERT-1"
            .parse()
            .unwrap(),
    );
    assert_eq!(gate.send(&elsewhere).await.0, 401);
    assert_eq!(gate.send(&delivery).await.0, 202);
    let mut changed = delivery;
    changed.body.push(b' ');
    assert_eq!(gate.send(&changed).await.0, 401);
    assert_eq!(vendor.asked().len(), 2);
}

#[tokio::test]
async fn truelayers_keys_come_from_its_own_set() {
    let vendor = Vendor::open().await;
    let keys = json!({ "keys": [jwk("P-521", P521_PUBLIC, 66)] });
    vendor.says(Reply::Text(200, keys.to_string()));
    let gate = Gate::open(&vendor, json!({ "scheme": "truelayer" })).await;
    let delivery = signed(preset("truelayer"), P521, r#"{"event_id":"e-1"}"#);
    assert_eq!(gate.send(&delivery).await.0, 202);
    let mut changed = delivery;
    changed.body.push(b' ');
    assert_eq!(gate.send(&changed).await.0, 401);
    assert_eq!(
        vendor.asked(),
        ["webhooks.truelayer.com GET /.well-known/jwks HTTP/1.1 "]
    );
}

#[tokio::test]
async fn plaids_key_is_asked_for_by_its_id_with_the_accounts_credentials() {
    let vendor = Vendor::open().await;
    let key = json!({ "key": jwk("P-256", P256_PUBLIC, 32), "request_id": "r" });
    vendor.says(Reply::Text(200, key.to_string()));
    let config = |params: Value| json!({ "scheme": "plaid", "params": params });
    let params = json!({ "environment": "sandbox", "client_id": "c-1", "secret": "s-1" });
    let gate = Gate::open(&vendor, config(params)).await;
    let delivery = signed(preset("plaid"), P256, r#"{"webhook_code":"X"}"#);
    assert_eq!(gate.send(&delivery).await.0, 202);
    assert_eq!(gate.send(&delivery).await.0, 202, "no id: not a repetition");
    let asked = vendor.asked();
    assert_eq!(asked.len(), 1);
    let (line, body) = asked[0].split_at(asked[0].find('{').unwrap());
    assert_eq!(
        line,
        "sandbox.plaid.com POST /webhook_verification_key/get HTTP/1.1 "
    );
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({ "client_id": "c-1", "secret": "s-1", "key_id": "local" })
    );
    let info = gate.world.info::<Wired>();
    for wrong in [
        json!({}),
        json!({ "environment": "test", "client_id": "c", "secret": "s" }),
    ] {
        let config = serde_json::from_value(config(wrong)).unwrap();
        let Err(error) = WebhookSource::build(config, &info) else {
            panic!("it must be refused")
        };
        assert!(error.problems[0].pointer.starts_with("/params"), "{error}");
    }
}

#[tokio::test]
async fn a_senders_own_key_set_is_followed() {
    let vendor = Vendor::open().await;
    vendor.says(Reply::Text(
        200,
        json!({ "keys": [jwk("P-256", P256_PUBLIC, 32)] }).to_string(),
    ));
    let verify = json!({
        "alg": "jwt",
        "jwt": { "algorithms": ["ES256"], "keys_url": "https://keys.example.com/jwks.json",
            "body_hash": { "claim": "hash" } }
    });
    let gate = Gate::open(&vendor, json!({ "verify": verify })).await;
    let scheme: Scheme = serde_json::from_value(verify).unwrap();
    let delivery = signed(&scheme, P256, "{}");
    assert_eq!(gate.send(&delivery).await.0, 202);
    let mut changed = delivery.clone();
    changed.body.push(b' ');
    assert_eq!(gate.send(&changed).await.0, 401);
    assert_eq!(vendor.asked().len(), 1);
    let text = serde_json::to_string(&json!({ "verify": {
        "alg": "jwt", "jwt": { "algorithms": ["ES256"], "keys_url": "http://keys.example.com/jwks.json" } } }));
    let config = serde_json::from_str(&text.unwrap()).unwrap();
    let Err(error) = WebhookSource::build(config, &gate.world.info::<Wired>()) else {
        panic!("plain http must be refused")
    };
    assert_eq!(error.problems[0].pointer, "/verify/jwt/keys_url");
}
