//! One record a line: plain, or JSON.

use std::{io, ops::Range};

use super::{Defect, Format, Found, KEPT_OF_DEFECT_BYTES, window::Window};

/// Reads lines. Blank ones are passed over; the line end (LF or CRLF) is not part of the record.
pub(super) struct Lines {
    window: Window,
    json: bool,
    max: usize,
    may_grow: bool,
}

impl Lines {
    pub(super) fn new(window: Window, json: bool, format: &Format) -> Self {
        Self {
            window,
            json,
            max: format.max_record_bytes,
            may_grow: format.may_grow,
        }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    pub(super) fn next(&mut self, arena: &mut Vec<u8>) -> io::Result<Option<Found>> {
        loop {
            let (offset, line) = (self.window.offset(), self.window.line());
            let end = self.window.find_line_end(0, self.max)?;
            let (record, consumed, lines) = match end {
                Some(end) => (&self.window.bytes()[..end], end + 1, 1),
                None if self.window.bytes().len() > self.max => {
                    return self.too_long(offset, line);
                }
                None if self.may_grow || self.window.bytes().is_empty() => return Ok(None),
                None => (self.window.bytes(), self.window.bytes().len(), 0),
            };
            let record = record.strip_suffix(b"\r").unwrap_or(record);
            if record.trim_ascii().is_empty() {
                self.window.consume(consumed, lines);
                continue;
            }
            let body = check(record, line, self.json).map(|()| append(arena, record));
            self.window.consume(consumed, lines);
            return Ok(Some(Found { offset, line, body }));
        }
    }

    fn too_long(&mut self, offset: u64, line: u64) -> io::Result<Option<Found>> {
        let kept = self.window.bytes();
        let kept = kept[..kept.len().min(KEPT_OF_DEFECT_BYTES)].to_vec();
        let (bytes, _) = self.window.skip_line()?;
        let body = Err(Defect::too_long(&kept, line, bytes, self.max));
        Ok(Some(Found { offset, line, body }))
    }
}

fn append(arena: &mut Vec<u8>, record: &[u8]) -> Range<usize> {
    let start = arena.len();
    arena.extend_from_slice(record);
    start..arena.len()
}

fn check(record: &[u8], line: u64, json: bool) -> Result<(), Defect> {
    let text =
        std::str::from_utf8(record).map_err(|error| Defect::not_utf8(record, line, error))?;
    if json {
        check_json(text, line)?;
    }
    Ok(())
}

/// Whether `text`, which starts in `line`, is one JSON text.
pub(super) fn check_json(text: &str, line: u64) -> Result<(), Defect> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let mistake_line = error.line().max(1);
            let start: usize = text
                .split_inclusive('\n')
                .take(mistake_line - 1)
                .map(str::len)
                .sum();
            let at = start + error.column().saturating_sub(1);
            // The error's own place counts from the start of the record; ours from the start of the file.
            let whole = error.to_string();
            let what = whole.split(" at line ").next().unwrap_or(&whole);
            let message = format!("not valid JSON: {what}");
            Err(Defect::at(text.as_bytes(), line, at, message))
        }
    }
}
