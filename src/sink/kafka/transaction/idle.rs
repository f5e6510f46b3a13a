//! A shard that has nothing to write. Kafka says that it was fenced only when it writes, and until then its lanes would take events
//! that it can no longer deliver. So it looks for claims behind its own last record.

use std::time::Duration;

use super::{
    client::Client,
    restore::{self, Claims},
    worker::{Stop, Worker},
};

/// How long a shard may have nothing to write before it looks, and looks again.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long an answer is waited for: batches and the end of the sink wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

impl Worker {
    /// Ends the seat if somebody else claimed it since our last record was committed. What cannot be read now is read the next
    /// time: that no broker answers is told elsewhere.
    pub(super) fn look_for_claims(&mut self, client: &Client) -> Result<(), Stop> {
        let topic = self.member.checkpoints_topic();
        let partition = i32::try_from(self.seat.shard).expect("shards are 16 bits");
        match client.end_of(&topic, partition, PATIENCE) {
            Ok(end) if end > self.seen => {}
            _ => return Ok(()),
        }
        let owner = self.seat.owner.text();
        let read = restore::claims(
            &self.shared.config,
            &topic,
            partition,
            owner,
            self.seen,
            PATIENCE,
        );
        let Claims { claims, end } = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, id = %self.id, "looking for other claims");
                return Ok(());
            }
        };
        if claims
            .get(&self.id)
            .is_some_and(|last| last.run != self.claim.run)
        {
            return Err(Stop::Lost {
                message: "another process has claimed it".to_owned(),
                fenced: true,
            });
        }
        self.seen = end;
        Ok(())
    }

    /// Whoever writes after us fences us first, so that nothing before this offset is news.
    pub(super) fn committed_at(&mut self, offset: Option<i64>) {
        self.seen = offset.map_or(self.seen, |offset| self.seen.max(offset + 1));
    }
}
