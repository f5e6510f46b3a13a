//! Requests as vendors send them.

use bytes::Bytes;
use headgate_sdk::config::Secret;
use headgate_webhook::{
    presets,
    verify::{Draft, Keys, PrivateKey, Signer},
};
use http_body_util::Full;
use hyper::Request;

pub(crate) const SECRET: &str = "a secret of our own";
/// RFC 8032's first key.
pub(crate) const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const PRIVATE: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

/// A request without a signature.
pub(crate) fn plain(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// A delivery to `/webhook/{scheme}`, signed with [`SECRET`] or, where the scheme has public keys, for [`PUBLIC`].
pub(crate) fn signed(scheme: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let verify = presets::find(scheme).unwrap().verify.clone();
    let keys = Keys {
        secrets: vec![Secret::new(SECRET)],
        public_keys: vec![PUBLIC.into()],
        ..Keys::default()
    };
    let private = (scheme == "discord").then(|| PrivateKey::parse(PRIVATE).unwrap());
    let keys = match private.is_some() {
        true => Keys {
            secrets: Vec::new(),
            ..keys
        },
        false => Keys {
            public_keys: Vec::new(),
            ..keys
        },
    };
    let signer = Signer::new(verify, &keys, private).unwrap();
    let target = format!("/webhook/{scheme}");
    let (head, _) = plain("POST", &target, headers, "").into_parts();
    let draft = Draft {
        method: "POST".into(),
        url: Some(target.clone()),
        headers: head.headers,
        body: body.as_bytes().to_vec(),
    };
    let draft = signer.sign(draft, jiff::Timestamp::now()).unwrap();
    let mut request = plain("POST", &target, &[], body);
    *request.headers_mut() = draft.headers;
    *request.body_mut() = Full::new(draft.body.into());
    request
}
