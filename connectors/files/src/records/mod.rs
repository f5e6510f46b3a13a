//! Records of a file: one at a time, in bounded memory, each with a place at which reading may resume.
//!
//! A record that cannot be read is a [`Defect`] with its line and column; the ones after it are read all the same. Only what breaks
//! the whole stream (I/O, a torn archive, the cap on inflated bytes, an array that never ends) is an error.

mod csv;
mod decode;
mod json_array;
mod lines;
mod window;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    ops::Range,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use csv::Dialect;

use self::{csv::Csv, decode::Decoded, json_array::JsonArray, lines::Lines, window::Window};
use crate::read::{Compression, Inflated, inflate::skip};

/// Of a defective record that is larger, only so much is kept.
pub const KEPT_OF_DEFECT_BYTES: usize = 64 * 1024;

/// What a file consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Comma-separated values, RFC 4180 with a free choice of delimiter.
    Csv(Dialect),
    /// One JSON text a line.
    JsonLines,
    /// One JSON array of records.
    JsonArray,
    /// One record a line.
    Lines,
}

/// How a file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// What it consists of.
    pub shape: Shape,
    /// The encoding of its text. A byte order mark overrides it.
    pub encoding: &'static encoding_rs::Encoding,
    /// A larger record is a defect.
    pub max_record_bytes: usize,
    /// A compressed file that inflates to more is an error.
    pub max_inflated_bytes: u64,
    /// Whether more may be appended later: then what follows the last line end is not a record yet.
    pub may_grow: bool,
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Bytes of the inflated, decoded text before it.
    #[serde(rename = "o")]
    pub offset: u64,
    /// Records before it, defective ones included.
    #[serde(rename = "r")]
    pub records: u64,
    /// The line of the next record, from 1.
    #[serde(rename = "l")]
    pub line: u64,
    /// Bytes of that line before it; only the elements of an array share lines.
    #[serde(rename = "k", default)]
    pub column: u64,
}

impl Place {
    /// The start of a file.
    pub const START: Self = Self {
        offset: 0,
        records: 0,
        line: 1,
        column: 0,
    };
}

/// One record.
#[derive(Debug)]
pub struct Record {
    /// Its number in the file, from 0.
    pub number: u64,
    /// Bytes of text before it.
    pub offset: u64,
    /// The line on which it starts, from 1.
    pub line: u64,
    /// Where its data lie in the arena, or why it has none.
    pub body: Result<Range<usize>, Defect>,
}

/// Why a record is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// The record as it stands in the file, at most [`KEPT_OF_DEFECT_BYTES`].
    pub bytes: Bytes,
    /// The line of the mistake, from 1.
    pub line: u64,
    /// The column of the mistake in bytes, from 1.
    pub column: u64,
    /// What is wrong, for people.
    pub message: String,
}

/// Reads records one after the other.
pub struct Reader {
    kind: Kind,
    records: u64,
}

enum Kind {
    Csv(Box<Csv>),
    Lines(Lines),
    JsonArray(JsonArray),
}

impl Reader {
    /// Opens a file at `place`, which an earlier reader of the same bytes and format reported. Files that are neither compressed
    /// nor transcoded are resumed by seeking, others by reading over what was read before. Blocking, as everything here.
    ///
    /// # Errors
    /// If reading fails.
    pub fn open(file: &File, format: &Format, place: Place) -> io::Result<Self> {
        let kind = match &format.shape {
            Shape::Csv(dialect) => {
                let header = if dialect.header {
                    let mut window = open_window(file, format, Place::START)?;
                    Some(csv::Header::read(&mut window, dialect, format)?)
                } else {
                    None
                };
                let mut window = open_window(file, format, place)?;
                if let Some(header) = &header
                    && place == Place::START
                {
                    header.pass_over(&mut window)?;
                }
                Kind::Csv(Box::new(Csv::new(window, dialect, header, format)))
            }
            Shape::Lines | Shape::JsonLines => {
                let json = format.shape == Shape::JsonLines;
                Kind::Lines(Lines::new(open_window(file, format, place)?, json, format))
            }
            Shape::JsonArray => {
                let window = open_window(file, format, place)?;
                Kind::JsonArray(JsonArray::new(window, place != Place::START, format))
            }
        };
        Ok(Self {
            kind,
            records: place.records,
        })
    }

    /// The next record; good data are appended to `arena`. `None` at the end of what can be read now.
    ///
    /// # Errors
    /// What breaks the stream: I/O, a torn archive, [`io::ErrorKind::FileTooLarge`] for the cap, [`io::ErrorKind::InvalidData`] for
    /// an array that is none or never ends.
    pub fn next(&mut self, arena: &mut Vec<u8>) -> io::Result<Option<Record>> {
        let found = match &mut self.kind {
            Kind::Csv(csv) => csv.next(arena)?,
            Kind::Lines(lines) => lines.next(arena)?,
            Kind::JsonArray(array) => array.next(arena)?,
        };
        Ok(found.map(|found| {
            let number = self.records;
            self.records += 1;
            Record {
                number,
                offset: found.offset,
                line: found.line,
                body: found.body,
            }
        }))
    }

    /// Where the next record starts.
    #[must_use]
    pub fn place(&self) -> Place {
        let window = match &self.kind {
            Kind::Csv(csv) => csv.window(),
            Kind::Lines(lines) => lines.window(),
            Kind::JsonArray(array) => array.window(),
        };
        Place {
            offset: window.offset(),
            records: self.records,
            line: window.line(),
            column: window.column(),
        }
    }
}

/// A record as its own reader found it.
struct Found {
    offset: u64,
    line: u64,
    body: Result<Range<usize>, Defect>,
}

impl Defect {
    /// A defect at byte `at` of `raw`, which starts in `line`.
    fn at(raw: &[u8], line: u64, at: usize, message: impl Into<String>) -> Self {
        let before = &raw[..at.min(raw.len())];
        let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        Self {
            bytes: Bytes::copy_from_slice(&raw[..raw.len().min(KEPT_OF_DEFECT_BYTES)]),
            line: line + window::count_lines(before),
            column: column as u64 + 1,
            message: message.into(),
        }
    }

    fn too_long(raw: &[u8], line: u64, bytes: u64, max: usize) -> Self {
        let message =
            format!("the record has {bytes} bytes or more, `max_record_size` allows {max}");
        Self::at(raw, line, 0, message)
    }

    fn not_utf8(raw: &[u8], line: u64, error: std::str::Utf8Error) -> Self {
        let message =
            "the record is not UTF-8: set `encoding` if the file is written in another one";
        Self::at(raw, line, error.valid_up_to(), message)
    }
}

/// A window at `place` of the inflated, decoded text, past a byte order mark.
fn open_window(mut file: &File, format: &Format, place: Place) -> io::Result<Window> {
    file.seek(SeekFrom::Start(0))?;
    let mut text = Inflated::new(file.try_clone()?, format.max_inflated_bytes)?;
    let plain = text.compression() == Compression::None;
    let mut head = Vec::with_capacity(3);
    text.by_ref().take(3).read_to_end(&mut head)?;
    let mark = encoding_rs::Encoding::for_bom(&head);
    let encoding = mark.map_or(format.encoding, |(encoding, _)| encoding);
    let mark_bytes = mark.map_or(0, |(_, length)| length);
    let text = io::Cursor::new(head).chain(text);
    if encoding != encoding_rs::UTF_8 {
        let mut text = BufReader::new(Decoded::new(text, encoding));
        skip(&mut text, place.offset)?;
        return Ok(Window::new(Box::new(text), place.offset, place));
    }
    // A mark counts as bytes before the first record.
    let offset = place.offset.max(mark_bytes as u64);
    if plain {
        file.seek(SeekFrom::Start(offset))?;
        return Ok(Window::new(Box::new(file.try_clone()?), offset, place));
    }
    let mut text = BufReader::new(text);
    skip(&mut text, offset)?;
    Ok(Window::new(Box::new(text), offset, place))
}
