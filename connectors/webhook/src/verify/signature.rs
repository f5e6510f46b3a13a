//! Requests that carry signatures: what was signed, and which key fits.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{
    Failure, Incoming, KeyLookup, KeyRequest, PublicKeys, Reason, SignatureRule, Special, Verified,
    Verifier,
    asymmetric::Asymmetric,
    mac,
    message::{Part, concatenate},
    sns, special,
};

impl Verifier {
    pub(super) fn verify_signature(
        &self,
        request: &Incoming<'_>,
        now: Timestamp,
        lookup: &dyn KeyLookup,
    ) -> Result<Verified, Failure> {
        let rule = self.signature_rule()?;
        if rule.from.read(request).is_none() {
            return Err(Reason::MissingSignature(rule.from.to_string()).into());
        }
        let stamp = match &self.scheme.timestamp {
            Some(timestamp) => timestamp.read(request, Some(rule))?,
            None => None,
        };
        let text = stamp.as_ref().map(|stamp| stamp.text.as_ref());
        let (messages, prefix) = self.messages(request, text)?;
        let signatures = special::signatures(rule, prefix, request)?;
        let secret_index = self.check(request, &messages, &signatures, lookup)?;
        if let (Some(rule), Some(stamp)) = (&self.scheme.timestamp, &stamp) {
            rule.check(stamp, now)?;
        }
        Ok(Verified {
            secret_index,
            sent_at: stamp.map(|stamp| stamp.instant),
            subject: None,
        })
    }

    pub(super) fn signature_rule(&self) -> Result<&SignatureRule, Reason> {
        self.scheme.signature.as_ref().ok_or_else(|| {
            Reason::Malformed("the scheme says nowhere where the signature stands".into())
        })
    }

    /// What may have been signed, the likeliest first, and the prefix of its signatures.
    pub(super) fn messages<'a>(
        &'a self,
        request: &Incoming<'a>,
        stamp: Option<&'a str>,
    ) -> Result<(Vec<Vec<Part<'a>>>, Option<&'a str>), Reason> {
        let rule = self.signature_rule()?;
        let prefix = rule.item_prefix.as_deref();
        let template = self
            .scheme
            .message
            .as_ref()
            .unwrap_or(special::body_template());
        if template.covers_timestamp() && stamp.is_none() {
            let place = self
                .scheme
                .timestamp
                .as_ref()
                .map(|stamp| stamp.place(Some(rule)));
            return Err(Reason::MissingTimestamp(
                place.unwrap_or_else(|| "{ts}".into()),
            ));
        }
        let render = |request: &Incoming<'a>, url: Option<Cow<'a, str>>| {
            template.render(request, url, stamp, &self.params)
        };
        let plain_url = request.url.map(Cow::Borrowed);
        let messages = match self.scheme.special {
            Some(kind @ (Special::TwilioForm | Special::TwilioJson | Special::HubspotV3)) => {
                let url = request.url.ok_or(Reason::UrlUnknown)?;
                let urls = match kind {
                    Special::HubspotV3 => special::hubspot_urls(url),
                    _ => special::twilio_urls(url),
                };
                if kind == Special::TwilioJson {
                    special::twilio_body_hash(request)?;
                }
                urls.into_iter()
                    .map(|url| render(request, Some(url)))
                    .collect::<Result<_, _>>()?
            }
            Some(Special::Hook0) => {
                let (message, prefix) = special::hook0(rule, request, stamp.unwrap_or_default())?;
                return Ok((vec![message], Some(prefix)));
            }
            Some(Special::VonageSms) => vec![special::vonage_sms(request)],
            Some(Special::Contentful) => special::contentful(request)?,
            Some(Special::AwsSns) => vec![sns::message(request)?],
            Some(Special::Box) => special::box_bodies(request.body)
                .into_iter()
                .map(|body| {
                    let tail = Part::from(stamp.unwrap_or_default());
                    vec![Part::Bytes(body), tail]
                })
                .collect(),
            _ => vec![render(request, plain_url)?],
        };
        Ok((messages, prefix))
    }

    /// Which key one of the signatures fits; the index for secrets.
    pub(super) fn check(
        &self,
        request: &Incoming<'_>,
        messages: &[Vec<Part<'_>>],
        signatures: &[Vec<u8>],
        lookup: &dyn KeyLookup,
    ) -> Result<Option<usize>, Failure> {
        let mismatch = |keys: String| Reason::Mismatch {
            signatures: signatures.len(),
            keys,
        };
        let Some(asymmetric) = self.scheme.alg.asymmetric() else {
            let found = messages.iter().find_map(|message| {
                self.macs.iter().position(|key| {
                    let expected = key.compute(message);
                    signatures
                        .iter()
                        .any(|offered| mac::equal(offered, &expected))
                })
            });
            return found
                .map(Some)
                .ok_or_else(|| mismatch(format!("{} secret(s)", self.macs.len())).into());
        };
        let (asymmetric, remote) = self.public_rule(asymmetric, request)?;
        let fits = |keys: &PublicKeys| {
            messages
                .iter()
                .map(|message| concatenate(message))
                .any(|message| {
                    keys.0.iter().any(|key| {
                        signatures
                            .iter()
                            .any(|offered| asymmetric.verify(key, &message, offered))
                    })
                })
        };
        if let Some(request) = remote {
            let keys = lookup.lookup(&request).ok_or(Failure::KeyNeeded(request))?;
            return match fits(&keys) {
                true => Ok(None),
                false => Err(mismatch("the vendor's published certificate".into()).into()),
            };
        }
        match self.public.iter().any(fits) {
            true => Ok(None),
            false => Err(mismatch(format!("{} public key(s)", self.public.len())).into()),
        }
    }

    /// The algorithm and, unless a key is configured, where its key is published.
    fn public_rule(
        &self,
        configured: Asymmetric,
        request: &Incoming<'_>,
    ) -> Result<(Asymmetric, Option<KeyRequest>), Reason> {
        match self.scheme.special {
            Some(Special::AwsSns) => {
                let certificate = sns::certificate(request)?;
                Ok((
                    sns::algorithm(request)?,
                    self.public.is_empty().then_some(certificate),
                ))
            }
            Some(Special::Paypal) if self.public.is_empty() => {
                Ok((configured, Some(special::paypal_certificate(request)?)))
            }
            _ => Ok((configured, None)),
        }
    }
}
