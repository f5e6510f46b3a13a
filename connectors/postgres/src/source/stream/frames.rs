//! One frame after the other.

use super::{
    super::{End, open::two_phase},
    batches::Urgency,
    session::Stream,
};
use crate::{
    event::Mark,
    lsn::Lsn,
    pgoutput::{Message, Relation},
    replication::Frame,
};

/// What a frame asks for beyond what was done with it at once.
pub(super) enum Step {
    Done,
    /// Enough for a batch, or something to look after.
    Flush,
    Keepalive {
        wal_end: Lsn,
        reply: bool,
    },
    Begin {
        xid: u32,
        commit: Lsn,
        time: i64,
    },
    Relation {
        xid: Option<u32>,
        relation: Relation,
    },
    Mark(Mark),
    WriteOut(u32),
    StreamCommit {
        xid: u32,
        commit: Lsn,
        end: Lsn,
        time: i64,
    },
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
}

impl Stream {
    /// Takes one frame and does with it what needs no waiting; `None` if there is no whole frame.
    #[inline]
    pub(super) fn frame(&mut self) -> Result<Option<Step>, End> {
        let Some(frame) = self.link.stream.next()? else {
            return Ok(None);
        };
        let (wal_end, payload) = match frame {
            Frame::Data { wal_end, payload } => (wal_end, payload),
            Frame::Keepalive { wal_end, reply } => {
                return Ok(Some(Step::Keepalive { wal_end, reply }));
            }
        };
        self.link.feedback.received(wal_end);
        if self.decoder.in_stream() {
            if let Some((&tag @ (b'I' | b'U' | b'D' | b'T' | b'M'), rest)) = payload.split_first()
                && let Some((subxid, rest)) = rest.split_first_chunk::<4>()
            {
                let subxid = u32::from_be_bytes(*subxid);
                let due = self.spool.append(self.block, subxid, tag, rest);
                return Ok(Some(if due {
                    Step::WriteOut(self.block)
                } else {
                    Step::Done
                }));
            }
            if let Some((b'O', rest)) = payload.split_first() {
                self.spool.append(self.block, self.block, b'O', rest);
                return Ok(Some(Step::Done));
            }
        }
        Ok(Some(match self.decoder.decode(payload)? {
            Message::Begin { xid, commit, time } if self.export.is_some() => {
                Step::Begin { xid, commit, time }
            }
            Message::Begin { xid, commit, time } => {
                self.publisher.begin(xid, commit, time);
                Step::Done
            }
            Message::Commit { end, .. } => {
                self.publisher.commit(end)?;
                self.step_if_full()
            }
            Message::Relation { xid, relation } => Step::Relation { xid, relation },
            Message::StreamStart { xid, .. } => {
                self.block = xid;
                Step::Done
            }
            Message::StreamCommit {
                xid,
                commit,
                end,
                time,
            } => Step::StreamCommit {
                xid,
                commit,
                end,
                time,
            },
            Message::StreamAbort { xid, subxid } => Step::StreamAbort { xid, subxid },
            Message::BeginPrepare { .. }
            | Message::Prepare { .. }
            | Message::CommitPrepared { .. }
            | Message::RollbackPrepared { .. }
            | Message::StreamPrepare { .. } => {
                return Err(two_phase(&self.checked.slot));
            }
            message => match self.publisher.change(&message)? {
                Some(mark) => Step::Mark(mark),
                None => self.step_if_full(),
            },
        }))
    }

    #[inline]
    pub(super) fn step_if_full(&self) -> Step {
        if self.publisher.outgoing.is_full() {
            Step::Flush
        } else {
            Step::Done
        }
    }

    pub(super) async fn step(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Done => Ok(()),
            Step::Flush => self.flush().await,
            Step::Keepalive { wal_end, reply } => self.keepalive(wal_end, reply).await,
            Step::Begin { xid, commit, time } => {
                self.export_before(commit).await?;
                self.publisher.begin(xid, commit, time);
                Ok(())
            }
            Step::Relation { xid, relation } => {
                let table = self.describe(relation).await?;
                match xid {
                    // Its transaction may abort, and others must not see it before it commits.
                    Some(_) => self.spool.describe(self.block, table),
                    None => self.learn(table).await?,
                }
                Ok(())
            }
            Step::Mark(mark) => self.mark(mark).await,
            Step::WriteOut(xid) => Ok(self.spool.write_out(xid).await?),
            Step::StreamCommit {
                xid,
                commit,
                end,
                time,
            } => {
                self.export_before(commit).await?;
                self.publish_spooled(xid, commit, end, time).await
            }
            Step::StreamAbort { xid, subxid } => Ok(self.spool.abort(xid, subxid).await?),
        }
    }

    pub(super) async fn keepalive(&mut self, wal_end: Lsn, reply: bool) -> Result<(), End> {
        self.link.feedback.received(wal_end);
        if self.publisher.between_transactions() {
            self.export_before(wal_end).await?;
            self.publisher.advance(wal_end);
        }
        if reply {
            if self.link.feedback.is_asked_again(wal_end) {
                self.store_idle_position(Urgency::AtOnce).await?;
            }
            self.link.feedback.send(&mut self.link.stream).await?;
        }
        Ok(())
    }
}
