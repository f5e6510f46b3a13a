//! The first 4 KiB of a segment.
//!
//! Little endian: magic (8 bytes), format version (2), compression (1, 0 = none), length of the key id (1, 0 = not
//! encrypted), CRC32C of the block with this field as zero (4), tag of this use (8), first sequence (8), created (8,
//! milliseconds since 1970), key id (32), zeros. The block has pages of its own, so that no frame is ever rewritten with it.

use super::Sequence;
use super::frame::{read_u32, read_u64};

pub(super) const HEADER_BYTES: u64 = 4096;
const MAGIC: &[u8; 8] = b"HGATESEG";
const FORMAT: u16 = 1;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) tag: u64,
    pub(super) first: Sequence,
    pub(super) created_ms: u64,
}

/// Why a header was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not a header, or a damaged one.
    Bad,
    /// Valid, but of a version or with a feature that is unknown here.
    Unsupported(String),
}

impl Header {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut block = vec![0; HEADER_BYTES as usize];
        block[0..8].copy_from_slice(MAGIC);
        block[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        block[16..24].copy_from_slice(&self.tag.to_le_bytes());
        block[24..32].copy_from_slice(&self.first.to_le_bytes());
        block[32..40].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        block
    }

    pub(super) fn decode(block: &[u8]) -> Result<Self, HeaderError> {
        if block.len() != HEADER_BYTES as usize || &block[0..8] != MAGIC {
            return Err(HeaderError::Bad);
        }
        let mut blank = block.to_vec();
        blank[12..16].fill(0);
        if crc32c::crc32c(&blank) != read_u32(&block[12..16]) {
            return Err(HeaderError::Bad);
        }
        let format = u16::from_le_bytes([block[8], block[9]]);
        if format != FORMAT {
            return Err(HeaderError::Unsupported(format!("format {format}")));
        }
        if block[10] != 0 {
            return Err(HeaderError::Unsupported(format!(
                "compression {}",
                block[10]
            )));
        }
        if block[11] != 0 {
            return Err(HeaderError::Unsupported("encryption".into()));
        }
        Ok(Self {
            tag: read_u64(&block[16..24]),
            first: read_u64(&block[24..32]),
            created_ms: read_u64(&block[32..40]),
        })
    }
}
