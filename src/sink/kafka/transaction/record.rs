//! The records of `{group}.checkpoints`.
//!
//! Keys: `p:{owner}:{lane}` for a position, `e:{owner}:{lane}\0{key}` for a keyed entry, `c::{transactional id}` for a claim. The
//! owner is empty for lanes that any instance of the group can read again, else the instance. Values: the position's JSON, the
//! entry's bytes (none removes it), the claim's JSON. One value a key is all that compaction has to keep.

use bytes::Bytes;
use headgate_sdk::{LaneId, Position, Str};

use super::member::Claim;

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Position(LaneId, Position),
    Entry(LaneId, Str, Option<Bytes>),
    Claim(Str, Claim),
}

pub(super) fn position_key(owner: &str, lane: &LaneId) -> String {
    format!("p:{owner}:{lane}")
}

pub(super) fn entry_key(owner: &str, lane: &LaneId, key: &str) -> String {
    format!("e:{owner}:{lane}\0{key}")
}

pub(super) fn claim_key(transactional_id: &str) -> String {
    format!("c::{transactional_id}")
}

/// Reads a record, unless it belongs to another owner; `None` also for what a later version wrote.
pub(super) fn decode(owner: &str, key: &[u8], value: Option<&[u8]>) -> Option<Content> {
    let key = std::str::from_utf8(key).ok()?;
    let (what, rest) = key.split_once(':')?;
    let (of, name) = rest.split_once(':')?;
    match what {
        "c" => {
            let claim = serde_json::from_slice(value?).ok()?;
            Some(Content::Claim(name.into(), claim))
        }
        "p" if of == owner => {
            let text = std::str::from_utf8(value?).ok()?;
            let position = Position::from_json(text).ok()?;
            Some(Content::Position(LaneId::from_stored(name), position))
        }
        "e" if of == owner => {
            let (lane, key) = name.split_once('\0')?;
            let value = value.map(Bytes::copy_from_slice);
            Some(Content::Entry(LaneId::from_stored(lane), key.into(), value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_leaves_other_owners_alone() {
        let lane = LaneId::from_stored("files/a:b@1234");
        let key = position_key("", &lane);
        let position = Position::encode(&7);
        let read = decode("", key.as_bytes(), Some(position.as_json().as_bytes()));
        assert_eq!(read, Some(Content::Position(lane.clone(), position)));
        assert_eq!(decode("1234", key.as_bytes(), Some(b"7")), None);

        let key = entry_key("1234", &lane, "k:1\0x");
        let entry = |value: Option<&'static [u8]>| {
            Some(Content::Entry(
                lane.clone(),
                "k:1\0x".into(),
                value.map(Bytes::from_static),
            ))
        };
        assert_eq!(
            decode("1234", key.as_bytes(), Some(b"v")),
            entry(Some(b"v"))
        );
        assert_eq!(decode("1234", key.as_bytes(), None), entry(None));
        assert_eq!(decode("", key.as_bytes(), None), None);

        let claim = Claim::new(&"1234".into());
        let json = serde_json::to_vec(&claim).unwrap();
        assert_eq!(
            decode("", claim_key("g-0").as_bytes(), Some(&json)),
            Some(Content::Claim("g-0".into(), claim))
        );
        assert_eq!(decode("", b"x:novelty", Some(b"1")), None);
    }
}
