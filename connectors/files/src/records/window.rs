//! A sliding window over a stream: what a record reader sees of its file.

use std::io::{self, Read};

use super::Place;

const FILL_BYTES: usize = 256 * 1024;

/// Bytes of a stream that are read and not yet consumed. Grows only as far as its user refuses to consume.
pub(super) struct Window {
    stream: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    offset: u64,
    line: u64,
    column: u64,
}

impl Window {
    /// A window at the start of `stream`, which is `offset` bytes into its file and otherwise at `place`.
    pub(super) fn new(stream: Box<dyn Read + Send>, offset: u64, place: Place) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            ended: false,
            offset,
            line: place.line,
            column: place.column,
        }
    }

    /// What is read and not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads more. Returns `false` at the end of the stream.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end + FILL_BYTES / 2 > self.buffer.len() {
            self.buffer.resize(self.end + FILL_BYTES, 0);
        }
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Passes over `bytes` bytes that hold `lines` line ends.
    pub(super) fn consume(&mut self, bytes: usize, lines: u64) {
        debug_assert!(self.start + bytes <= self.end);
        self.start += bytes;
        self.offset += bytes as u64;
        self.line += lines;
    }

    /// Passes over `bytes` bytes and counts their line ends and what follows the last one.
    pub(super) fn consume_counting(&mut self, bytes: usize) {
        let passed = &self.bytes()[..bytes];
        let lines = count_lines(passed);
        self.column = match memchr::memrchr(b'\n', passed) {
            Some(end) => (bytes - end - 1) as u64,
            None => self.column + bytes as u64,
        };
        self.consume(bytes, lines);
    }

    /// Bytes of the file before the window.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The line in which the window starts, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Bytes of that line before the window, as far as [`consume_counting`](Self::consume_counting) passed over them.
    pub(super) fn column(&self) -> u64 {
        self.column
    }

    /// The position of the next line end in the window at or after `from`, reading more until there is one. `None`: the stream
    /// ends, or more than `max` bytes hold none.
    pub(super) fn find_line_end(
        &mut self,
        mut from: usize,
        max: usize,
    ) -> io::Result<Option<usize>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.bytes()[from..]) {
                return Ok((from + at <= max).then_some(from + at));
            }
            from = self.bytes().len();
            if from > max || !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Passes over everything up to and including the next line end, in bounded memory. Returns how many bytes those were, and
    /// whether there was a line end.
    pub(super) fn skip_line(&mut self) -> io::Result<(u64, bool)> {
        let mut skipped = 0;
        loop {
            let bytes = self.bytes();
            if let Some(at) = memchr::memchr(b'\n', bytes) {
                skipped += at as u64 + 1;
                self.consume(at + 1, 1);
                return Ok((skipped, true));
            }
            let all = bytes.len();
            skipped += all as u64;
            self.consume(all, 0);
            if !self.fill()? {
                return Ok((skipped, false));
            }
        }
    }
}

/// Line ends in `bytes`.
pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
