//! The one thread that writes checkpoints.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use headgate_sdk::{Entry, LaneId, Str};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::store::Shared;
use crate::sink::Checkpoint;

/// How long a commit that nobody waits for may be put off, so that many become one: each transaction writes every page anew that it
/// touches, and entries whose keys are hashes touch as many pages as there are entries.
const LAZY: Duration = Duration::from_secs(1);
/// The most commits of one transaction,
const GROUP: usize = 4096;
/// and about the most bytes of entries, which wait in memory.
const GROUP_BYTES: usize = 16 << 20;
/// The pause before a failed transaction is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A lane's checkpoint to store.
pub struct Commit {
    /// The lane.
    pub lane: LaneId,
    /// What changes.
    pub checkpoint: Checkpoint,
    /// How far this brings a sink's own checkpoints: (sink, mark).
    pub mark: Option<(Str, Bytes)>,
    /// Runs on the writer's thread once it is on disk; must not block. A commit without it is not hurried.
    pub done: Option<Box<dyn FnOnce() + Send>>,
}

pub(super) enum Command {
    Commit(Commit),
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    database: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    group: Vec<Commit>,
    /// Bytes of the group's entries.
    group_bytes: usize,
    flushes: Vec<oneshot::Sender<()>>,
    close: Option<oneshot::Sender<()>>,
    /// To wait for a command or an instant, whichever comes first.
    clock: tokio::runtime::Runtime,
}

impl Writer {
    pub(super) fn start(
        database: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
    ) -> io::Result<()> {
        let mut writer = Self {
            database,
            commands,
            group: Vec::new(),
            group_bytes: 0,
            flushes: Vec::new(),
            close: None,
            clock: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()?,
        };
        thread::Builder::new()
            .name("checkpoints".into())
            .spawn(move || writer.run())?;
        Ok(())
    }

    fn run(&mut self) {
        while let Some(command) = self.commands.blocking_recv() {
            let hurried = self.take(command);
            self.gather(hurried);
            self.write();
            if let Some(closed) = self.close.take() {
                self.database.close();
                let _nobody_waits = closed.send(());
                return;
            }
        }
    }

    /// Takes a command; tells whether somebody waits for it.
    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Commit(commit) => {
                let hurried = commit.done.is_some();
                let entries = commit.checkpoint.entries.iter();
                self.group_bytes += entries.map(Entry::weight).sum::<usize>();
                self.group.push(commit);
                hurried
            }
            Command::Flush(done) => {
                self.flushes.push(done);
                true
            }
            Command::Close(done) => {
                self.close = Some(done);
                true
            }
        }
    }

    /// Fills the group: with whatever waits already, and with what comes within [`LAZY`] as long as nobody waits.
    fn gather(&mut self, mut hurried: bool) {
        let until = Instant::now() + LAZY;
        while self.group.len() < GROUP && self.group_bytes < GROUP_BYTES && self.close.is_none() {
            let next = if hurried {
                self.commands.try_recv().ok()
            } else {
                let next = async { timeout_at(until, self.commands.recv()).await };
                self.clock.block_on(next).ok().flatten()
            };
            match next {
                Some(command) => hurried |= self.take(command),
                None => return,
            }
        }
    }

    /// Writes the group, for as long as it takes: nothing behind it may go first.
    fn write(&mut self) {
        while let Err(error) = self.database.write(&self.group) {
            tracing::error!(%error, "checkpoints are not stored, sources are held back; trying again");
            metrics::counter!("headgate_checkpoint_errors_total").increment(1);
            thread::sleep(AGAIN);
            if self.commands.is_closed() && self.commands.is_empty() {
                return;
            }
            if let Err(error) = self.database.reopen() {
                tracing::error!(%error, "the checkpoint file does not open");
            }
        }
        crate::failpoint::reach("checkpoint-stored");
        let written = self.group.len() as u64;
        self.group_bytes = 0;
        self.database.written.fetch_add(written, Ordering::SeqCst);
        for commit in self.group.drain(..) {
            if let Some(done) = commit.done {
                done();
            }
        }
        for flushed in self.flushes.drain(..) {
            let _nobody_waits = flushed.send(());
        }
    }
}
