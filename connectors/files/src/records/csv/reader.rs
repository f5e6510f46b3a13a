//! Records as JSON: by the fast way where it can, else by the thorough one.

use std::{io, ops::Range};

use super::{
    Dialect, Header,
    fast::Fast,
    parser::{Parsed, Parser},
};
use crate::records::{Defect, Format, Found, KEPT_OF_DEFECT_BYTES, window::Window};

/// Reads records.
pub(in crate::records) struct Csv {
    window: Window,
    fast: Fast,
    parser: Parser,
    keys: Option<Vec<Vec<u8>>>,
    max: usize,
}

impl Csv {
    pub(in crate::records) fn new(
        window: Window,
        dialect: &Dialect,
        header: Option<Header>,
        format: &Format,
    ) -> Self {
        let keys = header.map(|header| header.keys);
        Self {
            window,
            fast: Fast::new(dialect, keys.as_deref(), format.max_record_bytes),
            parser: Parser::new(dialect, format),
            keys,
            max: format.max_record_bytes,
        }
    }

    pub(in crate::records) fn window(&self) -> &Window {
        &self.window
    }

    pub(in crate::records) fn next(&mut self, arena: &mut Vec<u8>) -> io::Result<Option<Found>> {
        self.pass_blank_lines()?;
        let (offset, line) = (self.window.offset(), self.window.line());
        let start = arena.len();
        if let Some(passed) = self.fast.record(self.window.bytes(), arena) {
            self.window.consume(passed.bytes, passed.lines);
            let body = Ok(start..arena.len());
            return Ok(Some(Found { offset, line, body }));
        }
        let body = match self.parser.record(&mut self.window)? {
            Parsed::End => return Ok(None),
            Parsed::Record { lines } => {
                let scanned = self.parser.scanned;
                let body = self.render(arena, line);
                self.window.consume(scanned, lines);
                body
            }
            Parsed::Unclosed => {
                let quote = self.parser.quote.unwrap_or(b'"');
                let raw = self.give_up_line()?;
                let at = memchr::memchr(quote, &raw).unwrap_or(0);
                let message = "a quote is opened here and never closed";
                Err(Defect::at(&raw, line, at, message))
            }
            Parsed::TooLong => {
                let bytes = self.parser.scanned as u64;
                let raw = self.give_up_line()?;
                Err(Defect::too_long(&raw, line, bytes, self.max))
            }
        };
        Ok(Some(Found { offset, line, body }))
    }

    fn pass_blank_lines(&mut self) -> io::Result<()> {
        loop {
            match self.window.bytes() {
                [b'\n', ..] => self.window.consume(1, 1),
                [b'\r', b'\n', ..] => self.window.consume(2, 1),
                [b'\r'] | [] => {
                    if !self.window.fill()? {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Passes over the line at the window's start, whatever record it belongs to, and returns what is kept of it.
    fn give_up_line(&mut self) -> io::Result<Vec<u8>> {
        let raw = self.window.bytes();
        let end = memchr::memchr(b'\n', raw).unwrap_or(raw.len());
        let mut kept = raw[..end.min(KEPT_OF_DEFECT_BYTES)].to_vec();
        self.window.skip_line()?;
        if kept.ends_with(b"\r") {
            kept.pop();
        }
        Ok(kept)
    }

    fn render(&self, arena: &mut Vec<u8>, line: u64) -> Result<Range<usize>, Defect> {
        let parser = &self.parser;
        let raw = &self.window.bytes()[..parser.scanned];
        let shown = raw.trim_ascii_end();
        if let Err(error) = std::str::from_utf8(raw) {
            return Err(Defect::not_utf8(shown, line, error));
        }
        let start = arena.len();
        if let Some(keys) = &self.keys {
            if keys.len() != parser.count {
                let at = field_start(shown, parser, keys.len());
                let message = format!(
                    "the record has {} fields, the header names {}",
                    parser.count,
                    keys.len()
                );
                return Err(Defect::at(shown, line, at, message));
            }
            let mut separator = b'{';
            for (key, field) in keys.iter().zip(parser.iter()) {
                arena.push(separator);
                arena.extend_from_slice(key);
                write_json_string(arena, field);
                separator = b',';
            }
            arena.push(b'}');
        } else {
            let mut separator = b'[';
            for field in parser.iter() {
                arena.push(separator);
                write_json_string(arena, field);
                separator = b',';
            }
            arena.push(b']');
        }
        Ok(start..arena.len())
    }
}

/// Where field `index` (from 0) starts in a record, or the record's end if it has fewer.
fn field_start(raw: &[u8], parser: &Parser, index: usize) -> usize {
    let mut quoted = false;
    let mut field = 0;
    for (at, &byte) in raw.iter().enumerate() {
        if Some(byte) == parser.quote {
            quoted = !quoted;
        } else if byte == parser.delimiter && !quoted {
            field += 1;
            if field == index {
                return at + 1;
            }
        }
    }
    raw.len()
}

/// Writes `text` (UTF-8) as a JSON string.
pub(super) fn write_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
    // Without early exit, so that the compiler makes vectors of it.
    if !text.iter().fold(false, |any, b| any | special(b)) {
        out.extend_from_slice(text);
    } else {
        for &byte in text {
            escape(out, byte);
        }
    }
    out.push(b'"');
}

/// Writes one byte of a JSON string.
pub(super) fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x20 => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
        _ => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::records::{Place, Shape};

    /// All records, by the fast way too or by the thorough one alone.
    fn read(text: &[u8], dialect: &Dialect, keys: bool, fast: bool) -> Vec<String> {
        let format = Format {
            shape: Shape::Csv(dialect.clone()),
            encoding: encoding_rs::UTF_8,
            max_record_bytes: 40,
            max_inflated_bytes: 0,
            may_grow: false,
        };
        let window = Window::new(Box::new(io::Cursor::new(text.to_vec())), 0, Place::START);
        let header = keys.then(|| Header {
            keys: vec![b"\"a\":".to_vec(), b"\"b\":".to_vec()],
            bytes: 0,
        });
        let mut csv = Csv::new(window, dialect, header, &format);
        if !fast {
            csv.fast = Fast::new(dialect, csv.keys.as_deref(), 0);
        }
        let mut arena = Vec::new();
        let mut all = Vec::new();
        while let Some(found) = csv.next(&mut arena).unwrap() {
            let body = found
                .body
                .map(|range| String::from_utf8(arena[range].to_vec()).unwrap());
            all.push(format!("{} {body:?}", found.line));
        }
        all
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            &b"\n"[..],
            b"\r\n",
            b"\r",
            b";",
            b";",
            b"\"",
            b"\"\"",
            b"'",
            b"\"a;b\";",
            b"\\",
            b"\t",
            b"\x01",
            b"1",
            b"some text",
            b"\xC3\xA4",
            b"\xFF",
            b"1;2\n",
            b"'x';\"y\"\r\n",
        ]);
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_fast_way_gives_what_the_thorough_one_gives(
            text in text(),
            quote in prop::sample::select(vec![None, Some(b'"'), Some(b'\'')]),
            keys: bool,
        ) {
            let dialect = Dialect { delimiter: b';', quote, header: keys };
            let fast = read(&text, &dialect, keys, true);
            prop_assert_eq!(fast, read(&text, &dialect, keys, false));
        }
    }
}
