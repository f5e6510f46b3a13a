//! Comma-separated values, each record as a JSON object under the header's names, or as an array without one.
//!
//! Values stay text: what looks like a number in one row may be a postal code in the next. A record with too few or too many fields
//! is a defect, as is a quote that is never closed: then only its first line is given up, and reading goes on at the next line.

mod fast;
mod header;
mod parser;
mod reader;

pub(super) use self::{header::Header, reader::Csv};

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
