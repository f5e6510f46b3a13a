//! Senders that are nobody's preset: every algorithm, from the configuration alone.

use headgate_sdk::config::Secret;
use serde_json::{Value, json};

use super::{
    super::{Draft, Keys, PrivateKey, Scheme, Signer, Verifier},
    presets::{NOW, verify},
};

const P256: &str = include_str!("../../../../../fixtures/webhooks/keys/p256.pem");
const P256_PUBLIC: &str = include_str!("../../../../../fixtures/webhooks/keys/p256.pub.pem");
const P521: &str = include_str!("../../../../../fixtures/webhooks/keys/p521.pem");
const P521_PUBLIC: &str = include_str!("../../../../../fixtures/webhooks/keys/p521.pub.pem");
const RSA: &str = include_str!("../../../../../fixtures/webhooks/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../../../../fixtures/webhooks/keys/rsa.cert.pem");
/// RFC 8032's first pair.
const ED25519: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const ED25519_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn secret() -> (Keys, Option<&'static str>) {
    let keys = Keys {
        secrets: vec![Secret::new("user:password")],
        ..Keys::default()
    };
    (keys, None)
}

fn pair(private: &'static str, public: &str) -> (Keys, Option<&'static str>) {
    let keys = Keys {
        public_keys: vec![public.into()],
        ..Keys::default()
    };
    (keys, Some(private))
}

/// Signs, verifies, and verifies with another body. Whether that other one passed.
fn passes_changed(verify_as: Value, (keys, private): (Keys, Option<&'static str>)) -> bool {
    let what = verify_as.to_string();
    let scheme: Scheme = serde_json::from_value(verify_as).unwrap();
    let private = private.map(|text| PrivateKey::parse(text).unwrap());
    let signer = Signer::new(scheme.clone(), &keys, private)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let draft = Draft {
        method: "POST".into(),
        url: Some("https://hooks.example.com/in".into()),
        body: b"{}".to_vec(),
        ..Draft::default()
    };
    let now = jiff::Timestamp::from_second(NOW).unwrap();
    let mut draft = signer.sign(draft, now).unwrap();
    let verifier = Verifier::new(scheme, &keys).unwrap();
    let outcome = verify(&verifier, &draft, NOW);
    assert!(outcome.is_ok(), "{what}: {outcome:?}");
    draft.body.push(b' ');
    verify(&verifier, &draft, NOW).is_ok()
}

#[test]
fn every_signature_algorithm_verifies_what_it_signed_and_nothing_else() {
    for (alg, keys) in [
        ("hmac-md5", secret()),
        ("hmac-sha1", secret()),
        ("hmac-sha256", secret()),
        ("hmac-sha384", secret()),
        ("hmac-sha512", secret()),
        ("ed25519", pair(ED25519, ED25519_PUBLIC)),
        ("ecdsa-p256", pair(P256, P256_PUBLIC)),
        ("ecdsa-p256-sha256-der", pair(P256, P256_PUBLIC)),
        ("ecdsa-p256-sha256-raw", pair(P256, P256_PUBLIC)),
        ("ecdsa-p521-sha512-raw", pair(P521, P521_PUBLIC)),
        ("rsa", pair(RSA, RSA_PUBLIC)),
        ("rsa-pkcs1-sha512", pair(RSA, RSA_PUBLIC)),
        ("rsa-pss-sha256", pair(RSA, RSA_PUBLIC)),
    ] {
        for encoding in ["hex", "base64", "base64url"] {
            let scheme = json!({ "alg": alg, "signature": { "from": "header:x-sig", "encoding": encoding } });
            assert!(!passes_changed(scheme, keys.clone()), "{alg}");
        }
    }
    for alg in ["sha256", "sha512"] {
        let scheme = json!({ "alg": alg, "signature": { "from": "header:x-sig" }, "message": "{secret}{body}" });
        assert!(!passes_changed(scheme, secret()), "{alg}");
    }
}

#[test]
fn tokens_prove_the_sender_alone_and_jwts_the_body_if_they_hold_its_hash() {
    for scheme in [
        json!({ "alg": "token", "signature": { "from": "header:x-api-key" } }),
        json!({ "alg": "api-key", "signature": { "from": "query:key" } }),
        json!({ "alg": "token" }),
        json!({ "alg": "basic" }),
    ] {
        assert!(passes_changed(scheme, secret()));
    }
    for (algorithm, keys) in [
        ("HS256", secret()),
        ("HS384", secret()),
        ("HS512", secret()),
        ("RS256", pair(RSA, RSA_PUBLIC)),
        ("RS512", pair(RSA, RSA_PUBLIC)),
        ("PS256", pair(RSA, RSA_PUBLIC)),
        ("ES256", pair(P256, P256_PUBLIC)),
        ("ES512", pair(P521, P521_PUBLIC)),
        ("EdDSA", pair(ED25519, ED25519_PUBLIC)),
    ] {
        let rules = |hash: bool| {
            let mut rules = json!({ "algorithms": [algorithm], "issuer": "acme", "max_age": "5m" });
            if hash {
                rules["body_hash"] = json!({ "claim": "body_sha256" });
            }
            json!({ "alg": "jwt", "jwt": rules })
        };
        assert!(passes_changed(rules(false), keys.clone()), "{algorithm}");
        assert!(!passes_changed(rules(true), keys), "{algorithm}");
    }
}
