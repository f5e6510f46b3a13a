//! A document's `_id` as the key of its events.

use headgate_sdk::{Str, envelope::legal_string};
use mongodb::bson::RawBsonRef;

use crate::json::{self, JsonFormat};

/// The text of an `_id`: plain for object ids, strings and numbers, Extended JSON for everything else. A string that could be taken
/// for something else is quoted, so that two documents of a collection never share a key.
pub(crate) fn text(id: RawBsonRef<'_>) -> Option<Str> {
    let mut out = Vec::with_capacity(24);
    match id {
        RawBsonRef::ObjectId(id) => json::hex(&id.bytes(), &mut out),
        RawBsonRef::String(text) if is_plain(text) => return Some(legal_string(text).into()),
        value => json::write_value(value, JsonFormat::Relaxed, &mut out).ok()?,
    }
    let text = String::from_utf8(out).ok()?;
    Some(legal_string(&text).into())
}

/// Whether nothing but a string looks like `text`.
fn is_plain(text: &str) -> bool {
    let is_object_id = text.len() == 24
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    !is_object_id
        && !matches!(text, "" | "true" | "false" | "null")
        && !text.starts_with(['{', '[', '"'])
        && text.parse::<f64>().is_err()
}

/// 128 bits that stand for an `_id` of a collection, by its bytes.
pub(crate) fn hash(id: RawBsonRef<'_>) -> u128 {
    let mut whole = mongodb::bson::RawDocumentBuf::new();
    whole.append(mongodb::bson::cstr!("_id"), id);
    let hash = blake3::hash(whole.as_bytes());
    u128::from_le_bytes(hash.as_bytes()[..16].try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Bson, doc, oid::ObjectId};

    #[test]
    fn keys_are_readable_and_never_shared() {
        let oid = ObjectId::parse_str("65f0c0ffee65f0c0ffee65f0").unwrap();
        let ids = [
            Bson::ObjectId(oid),
            Bson::String(oid.to_hex()),
            "order-7".into(),
            7.into(),
            "7".into(),
            7.5.into(),
            Bson::Null,
            "null".into(),
            true.into(),
            doc! { "a": 1 }.into(),
            "{\"a\":1}".into(),
            "".into(),
            "a\nb".into(),
        ];
        let keys: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let whole = mongodb::bson::RawDocumentBuf::try_from(&doc! { "_id": id }).unwrap();
                text(whole.get("_id").unwrap().unwrap()).unwrap()
            })
            .collect();
        insta::assert_snapshot!(keys.join("\n"));
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
