//! Transactions that have not committed yet, kept on disk until they do.
//!
//! One file for each top-level transaction; small ones stay in memory. Messages lie as they came, without their transaction
//! id, behind the id of the subtransaction they belong to. An aborted subtransaction leaves its id, and what belongs to it is
//! passed over when the transaction is published.
//!
//! Invariants: nothing here survives a restart (the slot sends it again); bytes on disk never exceed the configured bound;
//! descriptions of tables are kept even if their subtransaction aborted, because the server does not repeat them.

mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{fs, io::AsyncWriteExt};

pub(crate) use reader::{Record, SpoolReader};

use crate::event::Table;

/// Bytes of a transaction that stay in memory before a file is made.
const MEMORY_BYTES: usize = 256 << 10;

/// Marks a record that stands for a table's description.
const TABLE: u8 = 0;

/// Why a transaction cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error(
        "transactions that have not committed yet occupy more than `max_spool_bytes` ({max} bytes)"
    )]
    Full { max: u64 },
    #[error("the spool in {} failed: {source}; free space there or move `data_dir`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// All transactions under way.
pub(crate) struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    bytes: u64,
    open: HashMap<u32, Spooled>,
}

/// One transaction.
pub(super) struct Spooled {
    memory: Vec<u8>,
    file: Option<fs::File>,
    file_bytes: u64,
    aborted: HashSet<u32>,
    tables: Vec<Arc<Table>>,
}

impl Spool {
    /// An empty spool in `folder`, whose former contents are removed.
    pub(crate) async fn open(folder: PathBuf, max_bytes: u64) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Io {
            path: folder.clone(),
            source,
        };
        match fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fs::create_dir_all(&folder).await.map_err(failed)?;
        Ok(Self {
            folder,
            max_bytes,
            bytes: 0,
            open: HashMap::new(),
        })
    }

    /// Adds a message (without its transaction id) of `subxid` in `xid`. Returns whether [`write_out`](Self::write_out) is due.
    pub(crate) fn append(&mut self, xid: u32, subxid: u32, tag: u8, rest: &[u8]) -> bool {
        let spooled = self.open.entry(xid).or_insert_with(Spooled::new);
        spooled.record(subxid, tag, rest);
        spooled.memory.len() >= MEMORY_BYTES
    }

    /// Adds the description of a table.
    pub(crate) fn describe(&mut self, xid: u32, table: Arc<Table>) {
        let spooled = self.open.entry(xid).or_insert_with(Spooled::new);
        let number = u32::try_from(spooled.tables.len()).unwrap_or(u32::MAX);
        spooled.tables.push(table);
        spooled.record(xid, TABLE, &number.to_be_bytes());
    }

    /// Writes what `xid` has in memory to its file.
    pub(crate) async fn write_out(&mut self, xid: u32) -> Result<(), SpoolError> {
        let Some(spooled) = self.open.get_mut(&xid) else {
            return Ok(());
        };
        let length = spooled.memory.len() as u64;
        if self.bytes + length > self.max_bytes {
            return Err(SpoolError::Full {
                max: self.max_bytes,
            });
        }
        let path = self.folder.join(xid.to_string());
        spooled
            .write_out(&path)
            .await
            .map_err(|source| SpoolError::Io { path, source })?;
        self.bytes += length;
        Ok(())
    }

    /// Forgets a subtransaction, or the whole transaction if they are the same.
    pub(crate) async fn abort(&mut self, xid: u32, subxid: u32) -> Result<(), SpoolError> {
        if xid != subxid {
            if let Some(spooled) = self.open.get_mut(&xid) {
                spooled.aborted.insert(subxid);
            }
            return Ok(());
        }
        match self.open.remove(&xid) {
            Some(spooled) => self.remove_file(xid, spooled.file_bytes).await,
            None => Ok(()),
        }
    }

    /// The transaction, to be published; [`remove`](Self::remove) follows.
    pub(crate) async fn reader(&mut self, xid: u32) -> Result<SpoolReader, SpoolError> {
        let spooled = self.open.remove(&xid).unwrap_or_else(Spooled::new);
        let path = self.folder.join(xid.to_string());
        SpoolReader::new(spooled, path).await
    }

    /// Removes the file of a transaction that was published.
    pub(crate) async fn remove(&mut self, xid: u32, reader: SpoolReader) -> Result<(), SpoolError> {
        self.remove_file(xid, reader.file_bytes()).await
    }

    async fn remove_file(&mut self, xid: u32, bytes: u64) -> Result<(), SpoolError> {
        if bytes == 0 {
            return Ok(());
        }
        self.bytes -= bytes;
        let path = self.folder.join(xid.to_string());
        fs::remove_file(&path)
            .await
            .map_err(|source| SpoolError::Io { path, source })
    }

    /// Bytes on disk and in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let memory: usize = self.open.values().map(|s| s.memory.len()).sum();
        self.bytes + memory as u64
    }

    /// How many transactions there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Spooled {
    fn new() -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            file_bytes: 0,
            aborted: HashSet::new(),
            tables: Vec::new(),
        }
    }

    fn record(&mut self, subxid: u32, tag: u8, rest: &[u8]) {
        let length = u32::try_from(rest.len() + 1).unwrap_or(u32::MAX);
        self.memory.extend_from_slice(&subxid.to_be_bytes());
        self.memory.extend_from_slice(&length.to_be_bytes());
        self.memory.push(tag);
        self.memory.extend_from_slice(rest);
    }

    async fn write_out(&mut self, path: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(fs::File::create(path).await?),
        };
        file.write_all(&self.memory).await?;
        self.file_bytes += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }
}
