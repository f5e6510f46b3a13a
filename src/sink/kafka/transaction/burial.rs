//! Dead letters on their way to where they are kept, while the transaction that needs them is committed or comes again.
//!
//! A write goes on when its transaction is aborted because it takes too long, so that each comes to its end, and letters that wait for
//! room are not written again and again.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, join_all},
};
use headgate_sdk::DeadLetter;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::{pipeline::dead_letter::DeadLetterWriter, sink::SinkBatch};

/// How long a transaction stays open for letters that are written for the first time.
const FIRST: Duration = Duration::from_secs(2);
/// The same for those that took too long before.
const AGAIN: Duration = Duration::from_millis(20);

/// The letters of one batch.
pub(super) struct Letters {
    pub(super) batch: Arc<SinkBatch>,
    /// Their records.
    pub(super) records: Vec<usize>,
    pub(super) letters: Vec<DeadLetter>,
}

/// The writes of one shard.
#[derive(Default)]
pub(super) struct Burials(Vec<Burial>);

struct Burial {
    /// Gone with the lane that would send it again.
    batch: Weak<SinkBatch>,
    records: Vec<usize>,
    written: Shared<BoxFuture<'static, ()>>,
}

impl Burials {
    /// Begins to write what is not being written yet. Returns what resolves when all of it is durable, and how long to wait for that.
    pub(super) fn begin(
        &mut self,
        all: Vec<Letters>,
        writer: &Arc<dyn DeadLetterWriter>,
        runtime: &Handle,
    ) -> (BoxFuture<'static, ()>, Duration) {
        self.0.retain(|burial| burial.batch.strong_count() > 0);
        let mut patience = AGAIN;
        let mut pending = Vec::new();
        for Letters {
            batch,
            records,
            letters,
        } in all
        {
            let is_same = |burial: &&Burial| {
                std::ptr::eq(burial.batch.as_ptr(), Arc::as_ptr(&batch))
                    && burial.records == records
            };
            if let Some(burial) = self.0.iter().find(is_same) {
                pending.push(burial.written.clone());
                continue;
            }
            patience = FIRST;
            let task = AbortOnDropHandle::new(runtime.spawn(writer.write(letters)));
            let written = async {
                // One that was given up has written nothing.
                if task.await.is_err() {
                    std::future::pending().await
                }
            };
            let written = written.boxed().shared();
            pending.push(written.clone());
            self.0.push(Burial {
                batch: Arc::downgrade(&batch),
                records,
                written,
            });
        }
        (join_all(pending).map(|_| ()).boxed(), patience)
    }
}
