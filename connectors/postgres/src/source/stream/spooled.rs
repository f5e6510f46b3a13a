//! A transaction that was received while it ran.

use std::{collections::HashMap, sync::Arc};

use super::{super::End, frames::Step, session::Stream};
use crate::{event::Table, lsn::Lsn, pgoutput::Decoder, spool::Record};

impl Stream {
    /// Publishes a transaction that was received while it ran.
    pub(super) async fn publish_spooled(
        &mut self,
        xid: u32,
        commit: Lsn,
        end: Lsn,
        time: i64,
    ) -> Result<(), End> {
        let mut reader = self.spool.reader(xid).await?;
        // A description that came later, outside this transaction, stays the valid one.
        let mut newest: HashMap<u32, Arc<Table>> = HashMap::new();
        for table in reader.tables() {
            let id = table.relation.id;
            let current = self.publisher.table(id);
            for candidate in current.iter().chain([table]) {
                let best = newest.entry(id).or_insert_with(|| Arc::clone(candidate));
                if candidate.generation > best.generation {
                    *best = Arc::clone(candidate);
                }
            }
        }
        self.publisher.begin(xid, commit, time);
        let mut decoder = Decoder::default();
        loop {
            let step = match reader.next().await? {
                None => break,
                Some(Record::Table(table)) => {
                    self.learn(table).await?;
                    continue;
                }
                Some(Record::Message(bytes)) => {
                    let message = decoder.decode(bytes)?;
                    match self.publisher.change(&message)? {
                        Some(mark) => Step::Mark(mark),
                        None => self.step_if_full(),
                    }
                }
            };
            match step {
                Step::Flush => self.flush().await?,
                Step::Mark(mark) => self.mark(mark).await?,
                _ => {}
            }
        }
        self.publisher.commit(end)?;
        for table in newest.into_values() {
            self.publisher.learn(table);
        }
        self.spool.remove(xid, reader).await?;
        self.flush().await
    }
}
