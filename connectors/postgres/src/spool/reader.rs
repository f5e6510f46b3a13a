//! Reads a spooled transaction back, in order.

use std::{collections::HashSet, io, path::PathBuf, sync::Arc};

use bytes::{Buf, BytesMut};
use tokio::{fs, io::AsyncReadExt, io::AsyncWriteExt};

use super::{SpoolError, Spooled, TABLE};
use crate::event::Table;

const READ_BYTES: usize = 256 << 10;

/// One record.
pub(crate) enum Record<'a> {
    /// A message in the form that it has outside streams.
    Message(&'a [u8]),
    /// A table's description.
    Table(Arc<Table>),
}

/// A transaction's records.
pub(crate) struct SpoolReader {
    file: Option<fs::File>,
    file_bytes: u64,
    path: PathBuf,
    buffer: BytesMut,
    /// What was never written out; it follows the file.
    memory: Vec<u8>,
    handed_out: usize,
    aborted: HashSet<u32>,
    tables: Vec<Arc<Table>>,
}

impl SpoolReader {
    pub(super) async fn new(spooled: Spooled, path: PathBuf) -> Result<Self, SpoolError> {
        let file = match spooled.file {
            Some(mut written) => {
                let reopened = async {
                    written.flush().await?;
                    fs::File::open(&path).await
                };
                Some(reopened.await.map_err(|source| SpoolError::Io {
                    path: path.clone(),
                    source,
                })?)
            }
            None => None,
        };
        Ok(Self {
            file,
            file_bytes: spooled.file_bytes,
            path,
            buffer: BytesMut::new(),
            memory: spooled.memory,
            handed_out: 0,
            aborted: spooled.aborted,
            tables: spooled.tables,
        })
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// All descriptions of tables, in the order in which they came.
    pub(crate) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// The next record of what was not aborted.
    pub(crate) async fn next(&mut self) -> Result<Option<Record<'_>>, SpoolError> {
        self.buffer.advance(self.handed_out);
        self.handed_out = 0;
        loop {
            while let Some(head) = self.buffer.first_chunk::<8>() {
                let subxid = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
                if self.buffer.len() < 8 + length {
                    break;
                }
                self.buffer.advance(8);
                if self.buffer[0] == TABLE {
                    self.handed_out = length;
                    let number = self.buffer[1..length]
                        .first_chunk::<4>()
                        .map_or(usize::MAX, |bytes| u32::from_be_bytes(*bytes) as usize);
                    let table = self.tables.get(number).ok_or_else(|| self.damaged())?;
                    return Ok(Some(Record::Table(Arc::clone(table))));
                }
                if self.aborted.contains(&subxid) {
                    self.buffer.advance(length);
                    continue;
                }
                self.handed_out = length;
                return Ok(Some(Record::Message(&self.buffer[..length])));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(self.damaged())
                };
            }
        }
    }

    async fn fill(&mut self) -> Result<bool, SpoolError> {
        if let Some(file) = &mut self.file {
            self.buffer.reserve(READ_BYTES);
            let read = file
                .read_buf(&mut self.buffer)
                .await
                .map_err(|source| SpoolError::Io {
                    path: self.path.clone(),
                    source,
                })?;
            if read > 0 {
                return Ok(true);
            }
            self.file = None;
        }
        let memory = std::mem::take(&mut self.memory);
        self.buffer.extend_from_slice(&memory);
        Ok(!memory.is_empty())
    }

    fn damaged(&self) -> SpoolError {
        SpoolError::Io {
            path: self.path.clone(),
            source: io::Error::new(io::ErrorKind::InvalidData, "a record is cut short"),
        }
    }
}
