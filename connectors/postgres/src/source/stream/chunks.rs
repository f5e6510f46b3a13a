//! Chunks of tables that are being read, sent where their high watermark stands in the stream.

use headgate_sdk::Entry;

use super::{super::End, frames::Step, session::Stream};
use crate::{
    event::{Mark, SnapshotRow, Window},
    snapshot::{Chunk, FromReader, Progress, Verdict, known_entry},
};

impl Stream {
    pub(super) async fn mark(&mut self, mark: Mark) -> Result<(), End> {
        match mark {
            Mark::Low { window, relation } => {
                let low = self.publisher.commit_lsn().unwrap_or_default();
                let version = self.versions.version(relation);
                self.publisher
                    .windows
                    .push(Window::new(window, relation, low, version));
                Ok(())
            }
            Mark::High { window } => {
                let Some(at) = self
                    .publisher
                    .windows
                    .iter()
                    .position(|open| open.id == window)
                else {
                    return Ok(());
                };
                let window = self.publisher.windows.swap_remove(at);
                while !self.chunks.contains_key(&window.id) {
                    // It was handed over before its mark was written.
                    let news = self.link.tend(self.readers.next()).await?;
                    if let FromReader::Abandoned { window: gone } = &news
                        && *gone == window.id
                    {
                        return Ok(());
                    }
                    self.note_reader(news)?;
                }
                match self.chunks.remove(&window.id) {
                    Some(chunk) => self.send_chunk(chunk, &window).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Sends the rows of a chunk that the stream has not overtaken.
    pub(super) async fn send_chunk(&mut self, chunk: Chunk, window: &Window) -> Result<(), End> {
        self.note_moved();
        let Some(mut progress) = self.reading.get(&chunk.key).cloned() else {
            return Ok(());
        };
        let stale = chunk
            .in_progress
            .iter()
            .any(|xid| self.publisher.has_passed(*xid, window.low));
        if stale {
            // Whether the reader still listens makes no difference.
            let _heard = chunk.verdict.send(Verdict::Stale);
            return Ok(());
        }
        // Where the stream has seen another shape since the low watermark, nobody knows which of the two is the older.
        let unchanged = self.versions.version(window.relation) == window.version;
        self.set_version(&chunk.table, unchanged).await?;
        let at = self.publisher.commit_lsn().unwrap_or(window.low);
        let mut again = Vec::new();
        for i in 0..chunk.rows.len() {
            let row = chunk.rows.get(i);
            if window.truncated {
                break;
            }
            let key = self.publisher.key_text(&chunk.table, row);
            if let Some(key) = &key
                && window.changed.contains(key)
            {
                if window.incomplete.contains(key) {
                    again.extend(chunk.table.key_values(row, None));
                }
                continue;
            }
            let from = SnapshotRow {
                snapshot: &progress.snapshot,
                low: window.low,
                at,
                number: i as u64,
                time: chunk.time,
            };
            self.publisher.snapshot_row(&chunk.table, row, &from);
            progress.rows += 1;
            if matches!(self.step_if_full(), Step::Flush) {
                self.flush().await?;
            }
        }
        self.note_moved();
        if let Some(current) = self.reading.get(&chunk.key) {
            progress.again.clone_from(&current.again);
        }
        if chunk.repeated {
            // What was asked for came, or is gone; what moved meanwhile stays.
            progress.again.retain(|key| !chunk.asked.contains(key));
        }
        progress.again.extend(again);
        if !chunk.repeated {
            progress.finished = chunk.last;
            if chunk.after.is_some() {
                progress.after.clone_from(&chunk.after);
            }
        }
        let again = progress.again.clone();
        self.progressed(progress);
        let _heard = chunk.verdict.send(Verdict::Sent { again });
        self.flush().await
    }

    /// Rows that moved while their table is being read are read again; stored with the event that moved them.
    pub(super) fn note_moved(&mut self) {
        let mut told: Vec<(u32, String)> = Vec::new();
        for progress in self.reading.values_mut() {
            // One part of a reading is enough.
            let reading = (progress.oid, progress.snapshot.clone());
            if told.contains(&reading) {
                continue;
            }
            told.push(reading);
            let Some(moved) = self.publisher.moved.get_mut(&progress.oid) else {
                continue;
            };
            if !moved.is_empty() {
                progress.again.extend(moved.iter().cloned());
                self.publisher.outgoing.entries.push(progress.entry());
            }
        }
        self.publisher.moved.values_mut().for_each(Vec::clear);
    }

    /// Stores how far a table was read, with the rows that were sent of it.
    pub(super) fn progressed(&mut self, progress: Progress) {
        self.publisher.outgoing.entries.push(progress.entry());
        if !progress.is_done() {
            self.reading.insert(progress.key(), progress);
            return;
        }
        self.reading.remove(&progress.key());
        if !self.reading.values().any(|other| other.oid == progress.oid) {
            self.publisher.moved.remove(&progress.oid);
        }
        let rest = self
            .reading
            .values_mut()
            .find(|other| other.belongs_to(&progress));
        if let Some(rest) = rest {
            // What is left of the table goes on counting.
            rest.rows += progress.rows;
            self.publisher.outgoing.entries.push(rest.entry());
            return;
        }
        let known = known_entry(&progress.table);
        self.publisher.outgoing.entries.push(known);
        self.known.insert(progress.table.clone(), ());
        self.status.clear(&format!("snapshot/{}", progress.table));
        tracing::info!(
            table = progress.table,
            rows = progress.rows,
            "the table was read"
        );
    }

    pub(super) fn read_table(&mut self, progress: Progress) {
        if !self.readers.can_read() {
            self.status.warn(
                format!("snapshot/{}", progress.table),
                format!(
                    "table {} is not read: a standby cannot write watermarks; set `primary_url`",
                    progress.table
                ),
            );
        }
        self.publisher.moved.entry(progress.oid).or_default();
        self.readers.read(progress.clone());
        self.reading.insert(progress.key(), progress);
    }

    pub(super) async fn heed_reader(&mut self, news: FromReader) -> Result<(), End> {
        let export = match &news {
            FromReader::Unreadable {
                key, export: true, ..
            } => self.reading.get(key).cloned(),
            _ => None,
        };
        self.note_reader(news)?;
        if let Some(table) = export {
            self.begin_export(vec![table]).await?;
        }
        Ok(())
    }

    pub(super) fn note_reader(&mut self, news: FromReader) -> Result<(), End> {
        match news {
            FromReader::Chunk(chunk) => {
                self.status
                    .clear(&format!("snapshot/{}", chunk.table.subject));
                self.chunks.insert(chunk.window, *chunk);
            }
            FromReader::Split { key, bounds } => {
                if let Some(whole) = self.reading.remove(&key) {
                    for part in whole.split(bounds) {
                        self.publisher.outgoing.entries.push(part.entry());
                        self.read_table(part);
                    }
                }
            }
            FromReader::Abandoned { window } => {
                self.publisher.windows.retain(|open| open.id != window);
                self.chunks.remove(&window);
            }
            FromReader::Trouble { table, message } => self.status.warn(
                format!("snapshot/{table}"),
                format!("table {table} cannot be read, and is tried again: {message}"),
            ),
            FromReader::Unreadable {
                key,
                why,
                export: false,
            } => {
                if let Some(progress) = self.reading.remove(&key) {
                    self.publisher.outgoing.entries.push(Entry::remove(key));
                    self.status.warn(
                        format!("snapshot/{}", progress.table),
                        format!("table {} was not read to its end: {why}", progress.table),
                    );
                }
            }
            // An export in the middle of a transaction would come at the wrong place: it is asked for by `heed_reader`, else here.
            FromReader::Unreadable {
                export: true, key, ..
            } => {
                if let Some(progress) = self.reading.get(&key).cloned()
                    && !self.publisher.between_transactions()
                {
                    self.readers.read(progress);
                }
            }
        }
        Ok(())
    }
}
