//! Reading frames from a segment, one after the other.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::files::LogFile;
use super::frame::{Decoded, FRAME_HEADER_BYTES, Frame, decode, find_tag};

const CHUNK_BYTES: usize = 256 << 10;
const SEARCH_BYTES: usize = 1 << 20;

/// A place in a segment.
pub(super) struct Scanner {
    file: Arc<dyn LogFile>,
    tag: u64,
    offset: u64,
    chunk: Bytes,
    chunk_at: u64,
}

/// What lies at the scanner's place.
pub(super) enum Step {
    /// A frame; the scanner stands behind it.
    Frame(Frame),
    /// No valid frame; the scanner stands where it was.
    Bad,
    /// The limit.
    End,
}

impl Scanner {
    pub(super) fn new(file: Arc<dyn LogFile>, tag: u64, offset: u64) -> Self {
        Self {
            file,
            tag,
            offset,
            chunk: Bytes::new(),
            chunk_at: 0,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn file(&self) -> &dyn LogFile {
        &*self.file
    }

    pub(super) fn move_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Reads the frame here. Nothing at or after `limit` is looked at.
    pub(super) fn next(&mut self, limit: u64) -> io::Result<Step> {
        let room = limit.saturating_sub(self.offset);
        if room < FRAME_HEADER_BYTES as u64 {
            return Ok(Step::End);
        }
        let mut wanted = FRAME_HEADER_BYTES;
        loop {
            let bytes = self.load(wanted, limit)?;
            match decode(&bytes, self.tag, room) {
                Decoded::Frame(frame, length) => {
                    self.offset += length as u64;
                    return Ok(Step::Frame(frame));
                }
                Decoded::Needs(more) if bytes.len() < more && more > wanted => wanted = more,
                Decoded::Needs(_) | Decoded::Bad => return Ok(Step::Bad),
            }
        }
    }

    /// Where the next valid frame after this place begins, before `limit`.
    pub(super) fn find_next(&mut self, limit: u64) -> io::Result<Option<u64>> {
        let start = self.offset;
        let mut window_at = start + 8;
        let mut window = vec![0; SEARCH_BYTES];
        while window_at + FRAME_HEADER_BYTES as u64 <= limit {
            let length = window.len().min((limit - window_at) as usize);
            let read = self.file.read_at(&mut window[..length], window_at)?;
            let mut from = 0;
            while let Some(found) = find_tag(&window[..read], self.tag, from) {
                self.offset = window_at + found as u64;
                let step = self.next(limit)?;
                let candidate = window_at + found as u64;
                self.offset = start;
                if matches!(step, Step::Frame(_)) {
                    return Ok(Some(candidate));
                }
                from = found + 8;
            }
            if read < length || window_at + read as u64 >= limit {
                break;
            }
            // Places are aligned, so no tag lies across the border of two windows.
            window_at += read as u64 / 8 * 8;
        }
        Ok(None)
    }

    /// At least `wanted` bytes from the present place, if the file and `limit` have them.
    fn load(&mut self, wanted: usize, limit: u64) -> io::Result<Bytes> {
        if let Some(skip) = self.offset.checked_sub(self.chunk_at)
            && skip + (wanted as u64) <= self.chunk.len() as u64
        {
            return Ok(self.chunk.slice(skip as usize..));
        }
        let length = (wanted.max(CHUNK_BYTES) as u64).min(limit - self.offset);
        let mut buffer = vec![0; length as usize];
        let read = self.file.read_at(&mut buffer, self.offset)?;
        buffer.truncate(read);
        self.chunk = Bytes::from(buffer);
        self.chunk_at = self.offset;
        Ok(self.chunk.clone())
    }
}
