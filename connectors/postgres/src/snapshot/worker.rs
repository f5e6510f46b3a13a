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

use super::Progress;
use crate::{
    config::Checked,
    control::{Client, Published, SqlError, TableInfo, column_list, describe, kinds_of, published},
    event::Table,
    pgoutput::Tuple,
    sql::{identifier, literal},
    types::Kind,
};

/// A chunk ends early when it has this many bytes.
const MAX_CHUNK_BYTES: usize = 8 << 20;
/// Rows fetched at once.
const FETCH: u32 = 1_000;

/// What readers tell the stream.
pub(crate) enum FromReader {
    /// A chunk was read; its high watermark follows.
    Chunk(Box<Chunk>),
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

    pub(crate) fn push<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        for value in values {
            match value {
                Some(text) => {
                    self.bytes.push(b't');
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    self.bytes.extend_from_slice(&length.to_be_bytes());
                    self.bytes.extend_from_slice(text.as_bytes());
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
        let limit = self.checked.config.snapshot.chunk_rows;
        let sql = select(&info, &publication, &names, job, limit);
        let (rows, ended) = self.fetch(&sql, &names, limit).await?;
        self.reader.run("COMMIT").await?;
        if self.reader.opened() != opened {
            return Err(GiveUp::Sql(SqlError {
                code: None,
                message: "the session broke while a chunk was read".into(),
            }));
        }
        let after = rows
            .len()
            .checked_sub(1)
            .and_then(|last| table.key_values(rows.get(last), None));
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
                    rows.push((0..names.len()).map(|i| row.get(i)));
                    count += 1;
                }
            }
            let full = rows.len() >= limit as usize;
            if count < step {
                // The limit of the statement ends the cursor too, without being the table's end.
                return Ok((rows, !full));
            }
            if full || rows.bytes.len() >= MAX_CHUNK_BYTES {
                return Ok((rows, false));
            }
        }
    }
}

/// The published columns, in the table's order.
pub(super) fn column_names(info: &TableInfo, publication: &Published) -> Vec<String> {
    info.columns
        .iter()
        .filter(|column| {
            if publication.columns.is_empty() {
                !column.generated
            } else {
                publication.columns.contains(&column.name)
            }
        })
        .map(|column| column.name.clone())
        .collect()
}

/// `FROM … WHERE …` of what is published of a table.
pub(super) fn source(
    info: &TableInfo,
    publication: &Published,
    filter: Option<&str>,
) -> (String, Vec<String>) {
    let only = if info.kind == b'p' { "" } else { "ONLY " };
    let conditions = [publication.filter.as_deref(), filter]
        .into_iter()
        .flatten()
        .map(|condition| format!("({condition})"))
        .collect();
    (format!("{only}{}", info.quoted()), conditions)
}

fn select(
    info: &TableInfo,
    publication: &Published,
    names: &[String],
    job: &Progress,
    limit: u32,
) -> String {
    let (from, mut conditions) = source(info, publication, job.filter.as_deref());
    let key = column_list(info.key());
    let values = |values: &Vec<String>| {
        let typed: Vec<String> = info
            .key()
            .iter()
            .zip(values)
            .map(|(name, value)| {
                let type_name = info
                    .columns
                    .iter()
                    .find(|column| column.name == *name)
                    .map_or("text", |column| column.type_name.as_str());
                format!("{}::{type_name}", literal(value))
            })
            .collect();
        format!("({})", typed.join(", "))
    };
    if job.again.is_empty() {
        if let Some(after) = &job.after {
            conditions.push(format!("({key}) > {}", values(after)));
        }
    } else {
        let keys: Vec<String> = job.again.iter().map(values).collect();
        conditions.push(format!("({key}) IN ({})", keys.join(", ")));
    }
    let condition = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    let limit = if job.again.is_empty() {
        format!(" LIMIT {limit}")
    } else {
        String::new()
    };
    format!(
        "SELECT {} FROM {from}{condition} ORDER BY {key}{limit}",
        column_list(names)
    )
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
