//! The bytes of frames and headers.

use bytes::Bytes;
use proptest::prelude::*;

use crate::segment::frame::{Decoded, FrameBuilder, decode, find_tag};
use crate::segment::header::{HEADER_BYTES, Header, HeaderError};

fn sealed(records: &[Vec<u8>], tag: u64, first: u64) -> Bytes {
    let mut builder = FrameBuilder::new(Vec::new(), 0);
    for record in records {
        builder.push(record);
    }
    let expected = builder.sealed_len();
    let (_, bytes) = builder.seal(tag, first, 77);
    assert_eq!(bytes.len(), expected);
    bytes
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)
}

proptest! {
    #[test]
    fn a_frame_reads_back_as_written(records in records(), tag in 1u64.., first in 1..u64::MAX / 2) {
        let bytes = sealed(&records, tag, first);
        let Decoded::Frame(frame, length) = decode(&bytes, tag, bytes.len() as u64) else { panic!("no frame") };
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(frame.first, first);
        let read: Vec<_> = frame.records().collect();
        prop_assert_eq!(read.len(), records.len());
        for (index, (record, written)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(record.sequence, first + index as u64);
            prop_assert_eq!(record.committed_ms, 77);
            prop_assert_eq!(&record.data[..], &written[..]);
        }
    }

    #[test]
    fn a_changed_bit_is_noticed(records in records(), tag in 1u64.., place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let bytes = sealed(&records, tag, 5);
        let mut changed = bytes.to_vec();
        let used = 40 + records.iter().map(|record| record.len() + 4).sum::<usize>();
        changed[place.index(used)] ^= 1u8 << bit;
        let decoded = decode(&changed.into(), tag, bytes.len() as u64);
        prop_assert!(!matches!(decoded, Decoded::Frame(..)), "{decoded:?}");
    }

    #[test]
    fn a_shortened_frame_is_no_frame(records in records(), tag in 1u64.., keep in any::<prop::sample::Index>()) {
        let bytes = sealed(&records, tag, 5);
        let used = 40 + records.iter().map(|record| record.len() + 4).sum::<usize>();
        let short = bytes.slice(..keep.index(used));
        let decoded = decode(&short, tag, short.len() as u64);
        prop_assert!(!matches!(decoded, Decoded::Frame(..)), "{decoded:?}");
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), tag: u64, limit: u64) {
        let _ = decode(&bytes.clone().into(), tag, limit);
        let mut tagged = tag.to_le_bytes().to_vec();
        tagged.extend(bytes);
        let _ = decode(&tagged.clone().into(), tag, limit);
        prop_assert_eq!(find_tag(&tagged, tag, 0), Some(0));
    }

    #[test]
    fn a_header_reads_back_or_is_refused(tag: u64, first: u64, created_ms: u64, place in 0..HEADER_BYTES as usize, bit in 0..8u8) {
        let header = Header { tag, first, created_ms };
        let mut block = header.encode();
        prop_assert_eq!(Header::decode(&block), Ok(header));
        block[place] ^= 1u8 << bit;
        prop_assert_eq!(Header::decode(&block), Err(HeaderError::Bad));
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut block = Header {
        tag: 1,
        first: 1,
        created_ms: 1,
    }
    .encode();
    block[8] = 2;
    block[12..16].fill(0);
    let crc = crc32c::crc32c(&block);
    block[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(
        Header::decode(&block),
        Err(HeaderError::Unsupported("format 2".into()))
    );
}
