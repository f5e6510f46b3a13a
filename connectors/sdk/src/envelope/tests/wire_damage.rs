//! Damaged records are errors, never panics and never huge allocations.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{envelope, full};
use crate::envelope::wire::{self, WireError};

fn record() -> Bytes {
    let mut out = BytesMut::new();
    wire::encode(&full(), &mut out).expect("short enough");
    out.freeze()
}

#[test]
fn every_prefix_is_truncated() {
    let record = record();
    for length in 0..record.len() {
        assert_eq!(
            wire::decode(&mut record.slice(..length)),
            Err(WireError::Truncated),
            "{length}"
        );
    }
}

#[test]
fn a_newer_version_is_told_apart() {
    let mut record = BytesMut::from(record());
    record[4] = 2;
    assert_eq!(
        wire::decode(&mut record.freeze()),
        Err(WireError::Version(2))
    );
}

#[test]
fn bytes_left_over_are_damage() {
    let mut record = BytesMut::from(record());
    record.extend_from_slice(b"x");
    let length = u32::try_from(record.len() - 4).expect("short");
    record[..4].copy_from_slice(&length.to_le_bytes());
    assert_eq!(
        wire::decode(&mut record.freeze()),
        Err(WireError::Damaged("bytes are left over"))
    );
}

#[test]
fn data_is_a_slice_of_the_record() {
    let mut record = record();
    let range = record.as_ptr_range();
    let envelope = wire::decode(&mut record).expect("a record");
    assert!(range.contains(&envelope.data.bytes().expect("data").as_ptr()));
}

/// A format that is stored may not change by accident.
#[test]
fn version_1_is_what_it_was() {
    let hex: String = record().iter().map(|byte| format!("{byte:02x}")).collect();
    insta::assert_snapshot!(hex);
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = wire::decode(&mut Bytes::from(bytes.clone()));
        let mut framed = u32::try_from(bytes.len() + 1).expect("short").to_le_bytes().to_vec();
        framed.push(wire::VERSION);
        framed.extend(bytes);
        let _ = wire::decode(&mut Bytes::from(framed));
    }

    #[test]
    fn a_flipped_byte_decodes_or_fails(envelope in envelope(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut record = BytesMut::new();
        wire::encode(&envelope, &mut record).expect("short enough");
        let at = at.index(record.len());
        record[at] ^= flip;
        if let Ok(other) = wire::decode(&mut record.freeze()) {
            let mut again = BytesMut::new();
            wire::encode(&other, &mut again).expect("short enough");
            prop_assert_eq!(wire::decode(&mut again.freeze()), Ok(other));
        }
    }
}
