//! Comma-separated values, each record as a JSON object under the header's names, or as an array without one.
//!
//! Values stay text: what looks like a number in one row may be a postal code in the next. A record with too few or too many fields
//! is a defect, as is a quote that is never closed: then only its first line is given up, and reading goes on at the next line.

use std::{collections::HashSet, io};

use csv_core::ReadRecordResult;

use super::{
    Defect, Format, Found, KEPT_OF_DEFECT_BYTES,
    window::{Window, count_lines},
};

/// How values are separated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold a delimiter or a line end; doubled inside.
    pub quote: Option<u8>,
    /// Whether the first record names the fields.
    pub header: bool,
}

/// The first record of a file.
pub(super) struct Header {
    /// `"name":`, ready to be written.
    keys: Vec<Vec<u8>>,
    bytes: usize,
}

impl Header {
    /// Reads the header at the start of a file. An empty file has an empty one.
    pub(super) fn read(
        window: &mut Window,
        dialect: &Dialect,
        format: &Format,
    ) -> io::Result<Self> {
        let mut parser = Parser::new(dialect, format);
        parser.may_grow = false;
        let keys = match parser.record(window)? {
            Parsed::Record { .. } => {
                std::str::from_utf8(&parser.fields[..parser.end])
                    .map_err(|_| broken("the header is not UTF-8: set `encoding`"))?;
                names(parser.iter())
            }
            Parsed::End => Vec::new(),
            Parsed::Unclosed | Parsed::TooLong => {
                return Err(broken(
                    "the header is too long, or a quote in it is never closed",
                ));
            }
        };
        let bytes = parser.scanned;
        Ok(Self { keys, bytes })
    }

    /// Consumes the header of a window that starts at it.
    pub(super) fn pass_over(&self, window: &mut Window) -> io::Result<()> {
        while window.bytes().len() < self.bytes {
            if !window.fill()? {
                break;
            }
        }
        let bytes = self.bytes.min(window.bytes().len());
        window.consume_counting(bytes);
        Ok(())
    }
}

/// Keys as JSON; empty and repeated names get a number, so that no value hides another.
fn names<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut seen = HashSet::new();
    fields
        .enumerate()
        .map(|(index, name)| {
            let base = match name.trim_ascii() {
                b"" => format!("column_{}", index + 1),
                name => String::from_utf8_lossy(name).into_owned(),
            };
            let mut name = base.clone();
            let mut n = 2;
            while !seen.insert(name.clone()) {
                name = format!("{base}_{n}");
                n += 1;
            }
            let mut key = Vec::new();
            write_json_string(&mut key, name.as_bytes());
            key.push(b':');
            key
        })
        .collect()
}

/// Reads records.
pub(super) struct Csv {
    window: Window,
    parser: Parser,
    keys: Option<Vec<Vec<u8>>>,
    max: usize,
}

impl Csv {
    pub(super) fn new(
        window: Window,
        dialect: &Dialect,
        header: Option<Header>,
        format: &Format,
    ) -> Self {
        Self {
            window,
            parser: Parser::new(dialect, format),
            keys: header.map(|header| header.keys),
            max: format.max_record_bytes,
        }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    pub(super) fn next(&mut self, arena: &mut Vec<u8>) -> io::Result<Option<Found>> {
        self.pass_blank_lines()?;
        let (offset, line) = (self.window.offset(), self.window.line());
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
                let bytes = self.window.bytes().len() as u64;
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

    fn render(&self, arena: &mut Vec<u8>, line: u64) -> Result<std::ops::Range<usize>, Defect> {
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

enum Parsed {
    /// A record of `scanned` bytes.
    Record {
        lines: u64,
    },
    Unclosed,
    TooLong,
    End,
}

/// `csv-core` with the buffers it wants, all reused.
struct Parser {
    core: csv_core::Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes of `fields` in use.
    end: usize,
    /// Fields of the last record.
    count: usize,
    /// Bytes of the window that the last record takes.
    scanned: usize,
    delimiter: u8,
    quote: Option<u8>,
    max: usize,
    may_grow: bool,
}

impl Parser {
    fn new(dialect: &Dialect, format: &Format) -> Self {
        let mut builder = csv_core::ReaderBuilder::new();
        builder.delimiter(dialect.delimiter);
        match dialect.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        Self {
            core: builder.build(),
            fields: vec![0; 1024],
            ends: vec![0; 32],
            end: 0,
            count: 0,
            scanned: 0,
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            max: format.max_record_bytes,
            may_grow: format.may_grow,
        }
    }

    /// Parses the record at the window's start without consuming it.
    fn record(&mut self, window: &mut Window) -> io::Result<Parsed> {
        (self.scanned, self.end, self.count) = (0, 0, 0);
        self.core.reset();
        // An empty input would tell the core that the file ends.
        if window.bytes().is_empty() && !window.fill()? {
            return Ok(Parsed::End);
        }
        loop {
            let (result, read, written, ended) = self.core.read_record(
                &window.bytes()[self.scanned..],
                &mut self.fields[self.end..],
                &mut self.ends[self.count..],
            );
            self.scanned += read;
            self.end += written;
            self.count += ended;
            match result {
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty => {
                    if self.scanned > self.max {
                        return Ok(Parsed::TooLong);
                    }
                    // At the end of the file, the core is told so by an empty input.
                    if !window.fill()? && self.may_grow {
                        return Ok(Parsed::End);
                    }
                }
                ReadRecordResult::Record => {
                    let raw = &window.bytes()[..self.scanned];
                    let at_end = !matches!(raw.last(), Some(b'\n' | b'\r'));
                    if at_end && self.may_grow {
                        return Ok(Parsed::End);
                    }
                    if let Some(quote) = self.quote
                        && (at_end || window.ended())
                        && self.scanned == window.bytes().len()
                        && memchr::memchr_iter(quote, raw).count() % 2 == 1
                    {
                        return Ok(Parsed::Unclosed);
                    }
                    let lines = count_lines(raw);
                    return Ok(Parsed::Record { lines });
                }
                ReadRecordResult::End => return Ok(Parsed::End),
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends[..self.count].iter().map(move |&end| {
            let field = &self.fields[start..end];
            start = end;
            field
        })
    }
}

/// Writes `text` (UTF-8) as a JSON string.
fn write_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
    // Without early exit, so that the compiler makes vectors of it.
    if !text.iter().fold(false, |any, b| any | special(b)) {
        out.extend_from_slice(text);
    } else {
        for &byte in text {
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
    }
    out.push(b'"');
}

fn broken(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
