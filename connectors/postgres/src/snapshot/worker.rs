//! Reads chunks of one table after the other.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use headgate_sdk::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{
    Progress,
    query::{column_names, select},
    rows::Rows,
};
use crate::{
    config::Checked,
    control::{Client, Published, SqlError, TableInfo, column_list, describe, kinds_of, published},
    event::Table,
    sql::{identifier, literal},
    types::Kind,
};

/// A chunk ends early when it has this many bytes.
const MAX_CHUNK_BYTES: usize = 8 << 20;
/// Rows fetched at once.
const FETCH: u32 = 1_000;

/// A table is divided if each part has this many pages.
const MIN_PART_PAGES: u64 = 64;
/// Pages that are looked at to divide a table.
const SAMPLE_PAGES: u64 = 200;

/// What readers tell the stream.
pub(crate) enum FromReader {
    /// A chunk was read; its high watermark follows.
    Chunk(Box<Chunk>),
    /// The table is large: it is to be read in parts, each but the last up to one of these keys.
    Split {
        key: String,
        bounds: Vec<Vec<String>>,
    },
    /// The chunk of this window will not come.
    Abandoned { window: u64 },
    /// The table cannot be read in chunks; `export` says that it can be read in one piece.
    Unreadable {
        key: String,
        why: String,
        export: bool,
    },
    /// Reading failed; it is tried again.
    Trouble { table: String, message: String },
}

/// Rows between two watermarks.
pub(crate) struct Chunk {
    pub(crate) window: u64,
    /// The entry's key of the table's progress.
    pub(crate) key: String,
    pub(crate) table: Arc<Table>,
    pub(crate) rows: Rows,
    /// Low 32 bits of transactions that were in progress when it was read.
    pub(crate) in_progress: Vec<u32>,
    /// Where the next chunk begins.
    pub(crate) after: Option<Vec<String>>,
    /// Whether it was the last.
    pub(crate) last: bool,
    /// Whether these are rows that were read again.
    pub(crate) repeated: bool,
    /// The keys that were asked for, if they are.
    pub(crate) asked: Vec<Vec<String>>,
    pub(crate) time: Timestamp,
    pub(crate) verdict: oneshot::Sender<Verdict>,
}

/// What became of a chunk.
pub(crate) enum Verdict {
    /// It was sent; rows with these keys, and no others, must be read again.
    Sent { again: Vec<Vec<String>> },
    /// Its snapshot was older than the stream: read it again.
    Stale,
}

/// One reader.
pub(crate) struct Worker {
    pub(crate) checked: Arc<Checked>,
    pub(crate) version: u32,
    pub(crate) session: String,
    pub(crate) mark_prefix: String,
    pub(crate) windows: Arc<AtomicU64>,
    pub(crate) out: mpsc::Sender<FromReader>,
    pub(crate) reader: Client,
    /// Where watermarks are written.
    pub(crate) marks: Client,
    pub(crate) kinds: HashMap<u32, Kind>,
}

/// Why a table is given up.
enum GiveUp {
    Parts(Vec<Vec<String>>),
    Table { why: String, export: bool },
    Sql(SqlError),
    StreamGone,
}

impl From<SqlError> for GiveUp {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl Worker {
    /// Reads a table to its end. Returns `false` when the stream is gone.
    pub(crate) async fn read(&mut self, mut job: Progress) -> bool {
        let mut pause = Duration::from_millis(500);
        loop {
            match self.chunk(&mut job).await {
                Ok(true) => pause = Duration::from_millis(500),
                Ok(false) => return true,
                Err(GiveUp::StreamGone) => return false,
                Err(GiveUp::Parts(bounds)) => {
                    let key = job.key();
                    let split = FromReader::Split { key, bounds };
                    return self.out.send(split).await.is_ok();
                }
                Err(GiveUp::Table { why, export }) => {
                    let key = job.key();
                    return self
                        .out
                        .send(FromReader::Unreadable { key, why, export })
                        .await
                        .is_ok();
                }
                Err(GiveUp::Sql(error)) => {
                    self.reader.close();
                    let trouble = FromReader::Trouble {
                        table: job.table.clone(),
                        message: error.to_string(),
                    };
                    if self.out.send(trouble).await.is_err() {
                        return false;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
            }
        }
    }

    /// Reads the next chunk and waits for its verdict. `false` when there is none left.
    async fn chunk(&mut self, job: &mut Progress) -> Result<bool, GiveUp> {
        if job.is_done() {
            return Ok(false);
        }
        let window = self.windows.fetch_add(1, Ordering::Relaxed);
        self.mark(&format!("low {window} {}", job.oid)).await?;
        let read = self.rows(job, window).await;
        let (chunk, verdict) = match read {
            Ok(read) => read,
            Err(error) => {
                // Its transaction would show the next chunk an old state.
                self.reader.close();
                let abandoned = FromReader::Abandoned { window };
                self.out
                    .send(abandoned)
                    .await
                    .map_err(|_| GiveUp::StreamGone)?;
                return Err(error);
            }
        };
        let (after, last, repeated) = (chunk.after.clone(), chunk.last, chunk.repeated);
        // First the chunk, then its high watermark: whoever sees the mark has the chunk.
        self.out
            .send(FromReader::Chunk(Box::new(chunk)))
            .await
            .map_err(|_| GiveUp::StreamGone)?;
        if let Err(error) = self.mark(&format!("high {window}")).await {
            let abandoned = FromReader::Abandoned { window };
            self.out
                .send(abandoned)
                .await
                .map_err(|_| GiveUp::StreamGone)?;
            return Err(error.into());
        }
        match verdict.await {
            Ok(Verdict::Stale) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(Verdict::Sent { again }) => {
                job.again = again;
                if !repeated {
                    job.finished = last;
                    job.after = after.or(job.after.take());
                }
            }
            Err(_) => return Err(GiveUp::StreamGone),
        }
        Ok(true)
    }

    /// Writes a watermark. It commits, so that it reaches the stream at once.
    async fn mark(&mut self, text: &str) -> Result<(), SqlError> {
        let sql = format!(
            "SELECT pg_logical_emit_message(true, {}, {})",
            literal(&self.mark_prefix),
            literal(&format!("{} {text}", self.session))
        );
        self.marks.run(&sql).await
    }

    async fn rows(
        &mut self,
        job: &Progress,
        window: u64,
    ) -> Result<(Chunk, oneshot::Receiver<Verdict>), GiveUp> {
        self.reader
            .run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let opened = self.reader.opened();
        let snapshot = self.reader.rows("SELECT txid_current_snapshot()").await?;
        let in_progress = snapshot
            .first()
            .map(|row| in_progress(row.text(0)))
            .unwrap_or_default();
        let (info, publication) = self.table(job).await?;
        let names = column_names(&info, &publication);
        let mut relation = info.relation(&names);
        relation.columns.sort_by_key(|column| {
            names
                .iter()
                .position(|name| *name == column.name)
                .unwrap_or(usize::MAX)
        });
        kinds_of(
            &mut self.reader,
            relation.columns.iter().map(|c| c.type_oid),
            &mut self.kinds,
        )
        .await?;
        let table = Table::new(
            0,
            relation,
            &info.facts(self.kinds.clone()),
            true,
            self.checked.config.outbox.as_ref(),
        )
        .map_err(|why| GiveUp::Table { why, export: false })?;
        if table.key.is_empty() {
            return Err(GiveUp::Table {
                why: format!("table {} has no key", job.table),
                export: true,
            });
        }
        let repeated = !job.again.is_empty();
        if let Some(bounds) = self.bounds(job, &info).await? {
            return Err(GiveUp::Parts(bounds));
        }
        let limit = self.checked.config.snapshot.chunk_rows;
        let sql = select(&info, &publication, &names, job, limit);
        let (rows, ended) = self.fetch(&sql, &names, limit).await?;
        self.reader.run("COMMIT").await?;
        if self.reader.opened() != opened {
            return Err(GiveUp::Sql(SqlError::own(
                "the session broke while a chunk was read",
            )));
        }
        // Keys that are not UTF-8 cannot be named in the next chunk's condition.
        let after = (0..rows.len())
            .rev()
            .find_map(|i| table.key_values(rows.get(i), None));
        if after.is_none() && !ended && !repeated {
            return Err(GiveUp::Table {
                why: "its keys are not UTF-8".into(),
                export: false,
            });
        }
        let (verdict, answer) = oneshot::channel();
        let chunk = Chunk {
            window,
            key: job.key(),
            table: Arc::new(table),
            last: ended,
            after,
            rows,
            in_progress,
            repeated,
            asked: job.again.clone(),
            time: Timestamp::now(),
            verdict,
        };
        Ok((chunk, answer))
    }

    /// Where to divide a table that is large and of which nothing was read, so that all readers have something to do.
    async fn bounds(
        &mut self,
        job: &Progress,
        info: &TableInfo,
    ) -> Result<Option<Vec<Vec<String>>>, SqlError> {
        let parallel = u64::from(self.checked.config.snapshot.parallel);
        let is_whole = job.after.is_none() && job.until.is_none() && job.part == 0;
        if parallel < 2 || !is_whole || !job.again.is_empty() || job.filter.is_some() {
            return Ok(None);
        }
        let size = self
            .reader
            .rows(&format!(
                "SELECT coalesce((SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree({oid})), pg_relation_size({oid})) / 8192",
                oid = job.oid
            ))
            .await?;
        let pages: u64 = size.first().map_or(0, |row| {
            row.text(0)
                .split('.')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        });
        let parts = parallel.min(pages / MIN_PART_PAGES);
        if parts < 2 {
            return Ok(None);
        }
        let percent = (100 * SAMPLE_PAGES).div_ceil(pages).min(100);
        let key = column_list(info.key());
        let only = if info.kind == b'p' { "" } else { "ONLY " };
        let rows = self
            .reader
            .rows(&format!(
                "SELECT DISTINCT ON (headgate_part) {key} FROM (SELECT {key}, ntile({parts}) OVER (ORDER BY {key}) AS headgate_part \
                 FROM {only}{} TABLESAMPLE SYSTEM ({percent})) AS sample WHERE headgate_part > 1 ORDER BY headgate_part, {key}",
                info.quoted()
            ))
            .await?;
        let bounds: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                (0..info.key().len())
                    .map(|i| row.text(i).to_owned())
                    .collect()
            })
            .collect();
        Ok((!bounds.is_empty()).then_some(bounds))
    }

    async fn table(&mut self, job: &Progress) -> Result<(TableInfo, Published), GiveUp> {
        let gone = || GiveUp::Table {
            why: format!("table {} is not published (any more)", job.table),
            export: false,
        };
        let info = describe(&mut self.reader, job.oid)
            .await?
            .ok_or_else(gone)?;
        // Selecting nothing takes the lock that keeps the shape until the end of the transaction.
        let names = published(&mut self.reader, &self.checked.publication, self.version)
            .await?
            .ok_or_else(gone)?
            .into_iter()
            .find(|published| published.oid == job.oid)
            .ok_or_else(gone)?;
        let lock = format!("SELECT FROM {} LIMIT 0", info.quoted());
        self.reader.run(&lock).await?;
        let info = describe(&mut self.reader, job.oid)
            .await?
            .ok_or_else(gone)?;
        Ok((info, names))
    }

    /// Reads until the limit, or until there are enough bytes. Returns whether it reached the end of the table.
    async fn fetch(
        &mut self,
        sql: &str,
        names: &[String],
        limit: u32,
    ) -> Result<(Rows, bool), SqlError> {
        use tokio_postgres::SimpleQueryMessage::Row;
        let cursor = identifier("headgate_chunk");
        self.reader
            .run(&format!("DECLARE {cursor} NO SCROLL CURSOR FOR {sql}"))
            .await?;
        let mut rows = Rows::new(u16::try_from(names.len()).unwrap_or(u16::MAX));
        loop {
            let step = FETCH.min(limit);
            let fetched = self
                .reader
                .session()
                .await?
                .simple_query(&format!("FETCH FORWARD {step} FROM {cursor}"))
                .await?;
            let mut count = 0;
            for message in &fetched {
                if let Row(row) = message {
                    rows.push(row, names.len());
                    count += 1;
                }
            }
            let full = rows.len() >= limit as usize;
            if count < step {
                // The limit of the statement ends the cursor too, without being the table's end.
                return Ok((rows, !full));
            }
            if full || rows.bytes() >= MAX_CHUNK_BYTES {
                return Ok((rows, false));
            }
        }
    }
}

/// The transactions in progress of `xmin:xmax:xip,xip`, cut to the 32 bits that the stream shows.
fn in_progress(snapshot: &str) -> Vec<u32> {
    snapshot
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .split(',')
        .filter_map(|xid| xid.parse::<u64>().ok())
        .filter_map(|xid| u32::try_from(xid & u64::from(u32::MAX)).ok())
        .collect()
}
