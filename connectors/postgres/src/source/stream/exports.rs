//! Tables without a key, sent at the place of their exported snapshot.

use headgate_sdk::Timestamp;

use super::{super::End, session::Stream};
use crate::{
    event::SnapshotRow,
    lsn::Lsn,
    snapshot::{Export, Progress},
};

impl Stream {
    /// Makes an exported snapshot for tables without a key. The stream waits until it exists, so that it cannot pass its place.
    pub(super) async fn begin_export(&mut self, tables: Vec<Progress>) -> Result<(), End> {
        if !self.publisher.between_transactions() {
            return Ok(());
        }
        if let Some(export) = &mut self.export {
            // One at a time: these come back when it is done.
            export.tables.extend(tables);
            return Ok(());
        }
        let name = format!("headgate_export_{}", self.session);
        let begun = Export::begin(&self.checked, &name, tables, self.raw);
        self.export = Some(self.link.tend(begun).await??);
        Ok(())
    }

    /// Reads the tables of the export if the stream is about to pass its place.
    pub(super) async fn export_before(&mut self, lsn: Lsn) -> Result<(), End> {
        if self.export.as_ref().is_none_or(|export| lsn < export.at) {
            return Ok(());
        }
        let Some(mut export) = self.export.take() else {
            return Ok(());
        };
        self.flush().await?;
        let at = export.at;
        for mut progress in std::mem::take(&mut export.tables) {
            let opened = self
                .link
                .tend(export.open(&self.checked, self.version, &progress))
                .await?;
            let Some(table) = opened? else {
                self.reading.remove(&progress.key());
                continue;
            };
            self.set_version(&table, false).await?;
            let mut number = 0;
            loop {
                let rows = self.link.tend(export.fetch(&table)).await??;
                if rows.len() == 0 {
                    break;
                }
                let time = Timestamp::now();
                for i in 0..rows.len() {
                    let from = SnapshotRow {
                        snapshot: &progress.snapshot,
                        low: at,
                        at,
                        number,
                        time,
                    };
                    number += 1;
                    self.publisher.snapshot_row(&table, rows.get(i), &from);
                }
                self.flush().await?;
            }
            progress.rows = number;
            progress.finished = true;
            self.progressed(progress);
            self.flush().await?;
        }
        Ok(())
    }
}
