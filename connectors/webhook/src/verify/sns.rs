//! AWS SNS: a canonical list of the message's own fields, signed by a certificate of Amazon's
//! (docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html).

use super::{Incoming, KeyRequest, Published, Reason, asymmetric::Asymmetric, json, message::Part};

const NOTIFICATION: [&str; 6] = [
    "Message",
    "MessageId",
    "Subject",
    "Timestamp",
    "TopicArn",
    "Type",
];
const CONFIRMATION: [&str; 7] = [
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
];

/// The longest URL of a certificate.
const MAX_URL_BYTES: usize = 512;

/// What is signed.
pub(super) fn message<'a>(request: &Incoming<'a>) -> Result<Vec<Part<'a>>, Reason> {
    let kind = field(request, "Type").ok_or_else(|| Reason::MissingPart("Type".into()))?;
    let names: &[&str] = match kind.as_str() {
        "Notification" => &NOTIFICATION,
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => &CONFIRMATION,
        _ => {
            return Err(Reason::Malformed(
                "the message's `Type` is none of SNS's".into(),
            ));
        }
    };
    let mut canonical = String::new();
    for name in names {
        match field(request, name) {
            Some(value) => {
                canonical.push_str(name);
                canonical.push('\n');
                canonical.push_str(&value);
                canonical.push('\n');
            }
            None if *name == "Subject" => {}
            None => return Err(Reason::MissingPart((*name).to_owned())),
        }
    }
    Ok(vec![canonical.into()])
}

/// The algorithm that the message's version stands for.
pub(super) fn algorithm(request: &Incoming<'_>) -> Result<Asymmetric, Reason> {
    match field(request, "SignatureVersion").as_deref() {
        Some("1") => Ok(Asymmetric::RsaSha1),
        Some("2") => Ok(Asymmetric::RsaSha256),
        _ => Err(Reason::Malformed(
            "`SignatureVersion` is neither 1 nor 2".into(),
        )),
    }
}

/// The certificate, which must be Amazon's. Checked even where the certificate is configured: the field is not signed, and a
/// message that points elsewhere is not one of SNS's.
pub(super) fn certificate(request: &Incoming<'_>) -> Result<KeyRequest, Reason> {
    let url = field(request, "SigningCertURL")
        .or_else(|| field(request, "SigningCertUrl"))
        .ok_or_else(|| Reason::MissingPart("SigningCertURL".into()))?;
    let path = amazon_path(&url).ok_or_else(|| {
        Reason::ForeignKey("`SigningCertURL` is not on an SNS host of Amazon's".into())
    })?;
    if !path.ends_with(".pem") || path.contains(['?', '#']) || url.len() > MAX_URL_BYTES {
        return Err(Reason::ForeignKey(
            "`SigningCertURL` is no certificate".into(),
        ));
    }
    Ok(KeyRequest {
        url,
        kid: None,
        published: Published::Document,
    })
}

/// The path of an `https://sns.REGION.amazonaws.com[.cn]/…` URL; `None` for every other URL.
pub(crate) fn amazon_path(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://sns.")?;
    let slash = rest.find('/')?;
    let (host, path) = rest.split_at(slash);
    let region = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let plain = region.len() >= 3
        && region
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then_some(path)
}

fn field(request: &Incoming<'_>, name: &str) -> Option<String> {
    json::pointer(request.body, &format!("/{name}"))?
        .into_text()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amazons_sns_hosts_are_believed() {
        for good in [
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/x.pem",
        ] {
            assert!(amazon_path(good).is_some(), "{good}");
        }
        for bad in [
            "http://sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com.evil.test/x.pem",
            "https://sns.us-east-1.amazonaws.com@evil.test/x.pem",
            "https://evil.test/sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.a.b.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com:8443/x.pem",
            "https://s3.us-east-1.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com",
        ] {
            assert_eq!(amazon_path(bad), None, "{bad}");
        }
    }
}
