//! Text in another encoding, as UTF-8.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding};

const RAW_BYTES: usize = 64 * 1024;

/// Reads `stream` and gives UTF-8. What is malformed in the encoding becomes U+FFFD. Buffers given to `read` must have room for a
/// character.
pub(super) struct Decoded<R> {
    stream: R,
    decoder: Decoder,
    raw: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    finished: bool,
}

impl<R: Read> Decoded<R> {
    pub(super) fn new(stream: R, encoding: &'static Encoding) -> Self {
        Self {
            stream,
            decoder: encoding.new_decoder_with_bom_removal(),
            raw: vec![0; RAW_BYTES],
            start: 0,
            end: 0,
            ended: false,
            finished: false,
        }
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.finished {
            if self.start == self.end && !self.ended {
                self.start = 0;
                self.end = self.stream.read(&mut self.raw)?;
                self.ended = self.end == 0;
            }
            let raw = &self.raw[self.start..self.end];
            let (result, read, written, _replaced) =
                self.decoder.decode_to_utf8(raw, buffer, self.ended);
            self.start += read;
            self.finished = self.ended && result == CoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
