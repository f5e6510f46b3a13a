//! The first record, which names the fields.

use std::{collections::HashSet, io};

use super::{
    Dialect,
    parser::{Parsed, Parser},
    reader::write_json_string,
};
use crate::records::{Format, window::Window};

/// The first record of a file.
pub(in crate::records) struct Header {
    /// `"name":`, ready to be written.
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) bytes: usize,
}

impl Header {
    /// Reads the header at the start of a file. An empty file has an empty one.
    pub(in crate::records) fn read(
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
    pub(in crate::records) fn pass_over(&self, window: &mut Window) -> io::Result<()> {
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

fn broken(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
