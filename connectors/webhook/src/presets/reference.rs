//! The table of all presets, generated from them.

use std::fmt::Write as _;

use super::{Evidence, Preset, all};
use crate::verify::{Algorithm, Special};

/// The reference page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Webhook schemes\n\n\
        Generated from the presets. `scheme: NAME` selects one; a vendor that is not here is [ten lines](../own-vendor.md).\n\n\
        *Reads*: where the signature stands. *Needs*: what it is keyed with. *Type*, *delivery id*: where they stand. *Not covered*: what \
        somebody who holds one signed request could still change; the time of sending, where it is not covered, means that a request \
        can be sent again at any time, so that only its id tells. *Checked*: against the vendor's own published vector, against \
        somebody else's, or by the vendor's documentation and a signature of our own; all of them also refuse any flipped bit of \
        what is signed.\n\n\
        | scheme | vendor | algorithm | reads | needs | window | type | delivery id | handshake | not covered | checked |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, preset) in all() {
        let _infallible = writeln!(
            page,
            "| `{name}` | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&preset.title),
            algorithm(preset),
            code(&reads(preset)),
            needs(preset),
            window(preset),
            preset
                .event_type
                .as_ref()
                .map(|place| code(&place.to_string()))
                .unwrap_or_default(),
            preset
                .verify
                .dedup
                .as_ref()
                .map(|place| code(&place.to_string()))
                .unwrap_or_default(),
            preset
                .handshakes
                .iter()
                .map(word)
                .collect::<Vec<_>>()
                .join(", "),
            cell(&preset.not_covered.join("; ")),
            checked(preset),
        );
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!("`{}`", cell(text)),
    }
}

/// The name that serde gives a unit variant.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn algorithm(preset: &Preset) -> String {
    match &preset.verify.jwt {
        Some(rules) => format!(
            "JWT {}",
            rules
                .algorithms
                .iter()
                .map(word)
                .collect::<Vec<_>>()
                .join(", ")
        ),
        None => word(&preset.verify.alg),
    }
}

fn reads(preset: &Preset) -> String {
    match &preset.verify.signature {
        None => "header:Authorization".into(),
        Some(rule) => match &rule.item_prefix {
            None => rule.from.to_string(),
            Some(prefix) => format!("{} {prefix}…", rule.from),
        },
    }
}

fn needs(preset: &Preset) -> String {
    let scheme = &preset.verify;
    let mut needs = Vec::new();
    let fetched = matches!(
        scheme.special,
        Some(Special::AwsSns | Special::Paypal | Special::Truelayer | Special::Plaid)
    );
    let published = scheme
        .jwt
        .as_ref()
        .is_some_and(|rules| rules.keys_url.is_some());
    let asymmetric = matches!(word(&scheme.alg).as_str(), alg if alg.starts_with("rsa") || alg.starts_with("ecdsa") || alg == "ed25519");
    match () {
        () if fetched || published => needs.push("the vendor's key, fetched".to_owned()),
        () if asymmetric => needs.push("public key".into()),
        () if scheme.alg == Algorithm::Jwt
            && word(&scheme.jwt).is_empty()
            && scheme
                .jwt
                .as_ref()
                .is_some_and(|rules| rules.algorithms.len() > 3) =>
        {
            needs.push("secret or public key".into());
        }
        () => needs.push("secret".into()),
    }
    needs.extend(preset.params.keys().map(|name| format!("`{name}`")));
    if scheme.needs_url() {
        needs.push("`public_url`".into());
    }
    needs.join(", ")
}

fn window(preset: &Preset) -> String {
    let scheme = &preset.verify;
    match (&scheme.timestamp, &scheme.jwt) {
        (Some(rule), _) => format!("−{} +{}", rule.past, rule.future),
        (None, Some(rules)) => rules
            .max_age
            .map_or_else(|| "the token's".into(), |age| format!("±{age}")),
        (None, None) => String::new(),
    }
}

fn checked(preset: &Preset) -> String {
    let source = cell(&preset.checked.source);
    match preset.checked.by {
        Evidence::Vendor => format!("published vector: {source}"),
        Evidence::ThirdParty => format!("another implementation's vector: {source}"),
        Evidence::Derived => format!("derived vector: {source}"),
        Evidence::Refusals => format!("published refusals ({source}) and a key of our own"),
        Evidence::Documentation => "documentation, a key of our own".into(),
    }
}
