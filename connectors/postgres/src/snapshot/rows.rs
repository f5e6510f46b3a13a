//! Rows of a chunk, in the form that the stream gives them.

use tokio_postgres::SimpleQueryRow;

use crate::pgoutput::Tuple;

/// Stands for a value that is not UTF-8.
const NOT_TEXT: &[u8] = &[0xff];

/// Rows as pgoutput would have sent them.
#[derive(Default)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    columns: u16,
}

impl Rows {
    pub(crate) fn new(columns: u16) -> Self {
        Self {
            columns,
            ..Self::default()
        }
    }

    /// Adds a row of `columns` values.
    pub(crate) fn push(&mut self, row: &SimpleQueryRow, columns: usize) {
        for i in 0..columns {
            // What is not UTF-8 cannot be had: a byte that is not either stands for it, so that the row is rejected as such.
            let value = row
                .try_get(i)
                .map_or(Some(NOT_TEXT), |text| text.map(str::as_bytes));
            match value {
                Some(text) => {
                    self.bytes.push(b't');
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    self.bytes.extend_from_slice(&length.to_be_bytes());
                    self.bytes.extend_from_slice(text);
                }
                None => self.bytes.push(b'n'),
            }
        }
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn get(&self, i: usize) -> Tuple<'_> {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        Tuple::new(self.columns, &self.bytes[start..self.ends[i]])
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
