//! `csv-core` over a window: every record that the format allows, at the price of a look at each byte.

use std::io;

use csv_core::ReadRecordResult;

use super::Dialect;
use crate::records::{
    Format,
    window::{Window, count_lines},
};

pub(super) enum Parsed {
    /// A record of `scanned` bytes.
    Record {
        lines: u64,
    },
    Unclosed,
    TooLong,
    End,
}

/// `csv-core` with the buffers it wants, all reused.
pub(super) struct Parser {
    core: csv_core::Reader,
    pub(super) fields: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes of `fields` in use.
    pub(super) end: usize,
    /// Fields of the last record.
    pub(super) count: usize,
    /// Bytes of the window that the last record takes.
    pub(super) scanned: usize,
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    max: usize,
    pub(super) may_grow: bool,
}

impl Parser {
    pub(super) fn new(dialect: &Dialect, format: &Format) -> Self {
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
    pub(super) fn record(&mut self, window: &mut Window) -> io::Result<Parsed> {
        (self.scanned, self.end, self.count) = (0, 0, 0);
        self.core.reset();
        // An empty input would tell the core that the file ends.
        if window.bytes().is_empty() && !window.fill()? {
            return Ok(Parsed::End);
        }
        let mut at_end = false;
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
                    at_end = !window.fill()?;
                    if at_end && self.may_grow {
                        return Ok(Parsed::End);
                    }
                }
                ReadRecordResult::Record => {
                    let raw = &window.bytes()[..self.scanned];
                    if raw.len() > self.max {
                        return Ok(Parsed::TooLong);
                    }
                    // Ended by the file: by no line end, or by one inside a quote that is never closed.
                    if let Some(quote) = self.quote
                        && at_end
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends[..self.count].iter().map(move |&end| {
            let field = &self.fields[start..end];
            start = end;
            field
        })
    }
}
