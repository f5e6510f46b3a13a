//! The ledger's file.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use headgate_sdk::{
    Str, Timestamp,
    config::{ByteSize, HumanDuration},
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::segment::{Options, RealFiles, SegmentError, SegmentLog, releasable};

/// Entries that may wait for the writer; what is more is left out, and counted.
const QUEUE: usize = 8_192;
const EVERY: Duration = Duration::from_secs(1);
const SEGMENT_BYTES: u64 = 4 << 20;
const READ_BYTES: usize = 1 << 20;

/// How long `headgate trace` can tell when and how a batch was delivered.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long.
    #[serde(default = "Config::default_retention")]
    pub retention: HumanDuration,
    /// What that may take in `data_dir`; beyond it the oldest goes, however young.
    #[serde(default = "Config::default_max_bytes")]
    pub max_bytes: ByteSize,
}

impl Config {
    fn default_retention() -> HumanDuration {
        HumanDuration::from_secs(7 * 24 * 60 * 60)
    }

    fn default_max_bytes() -> ByteSize {
        ByteSize::from_mb(100)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retention: Self::default_retention(),
            max_bytes: Self::default_max_bytes(),
        }
    }
}

/// The ledger. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    log: Arc<SegmentLog>,
    config: Config,
    queue: mpsc::Sender<Run>,
    left_out: metrics::Counter,
}

impl Ledger {
    /// Opens or creates the ledger in `folder`; entries are written once [`write`](Self::write) runs. Blocks.
    ///
    /// # Errors
    /// [`SegmentError`] if the folder cannot be used.
    pub fn open(
        folder: &Path,
        config: Config,
    ) -> Result<(Self, mpsc::Receiver<Run>), SegmentError> {
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            max_total_bytes: config.max_bytes.bytes() + 4 * SEGMENT_BYTES,
            max_group_bytes: 1 << 20,
            spare_segments: 1,
            ..Options::new("trace")
        };
        let (log, _) = SegmentLog::open(folder, options, RealFiles)?;
        let (queue, runs) = mpsc::channel(QUEUE);
        let ledger = Self {
            log: Arc::new(log),
            config,
            queue,
            left_out: metrics::counter!("headgate_trace_left_out_total"),
        };
        Ok((ledger, runs))
    }

    /// Notes a run. Never waits: what the writer is too slow for is left out, and counted.
    pub fn note(&self, run: Run) {
        if self.queue.try_send(run).is_err() {
            self.left_out.increment(1);
        }
    }

    /// Writes what is noted, every second, until `stop`; and then what is noted already.
    pub async fn write(self, mut runs: mpsc::Receiver<Run>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopped = false;
        while !stopped {
            tokio::select! {
                () = stop.cancelled() => stopped = true,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.write_noted(&mut runs).await {
                tracing::warn!(%error, "the trace ledger is not written: `headgate trace` will know less");
            }
        }
    }

    pub(super) async fn write_noted(
        &self,
        runs: &mut mpsc::Receiver<Run>,
    ) -> Result<(), SegmentError> {
        let mut noted: Vec<Run> = Vec::new();
        // The last entry of each lane and sink.
        let mut last: HashMap<(Str, Str), usize> = HashMap::new();
        for _ in 0..QUEUE {
            let Ok(run) = runs.try_recv() else { break };
            let key = (run.lane.clone(), run.sink.clone());
            let joined = last.get(&key).is_some_and(|at| noted[*at].take(&run));
            if !joined {
                last.insert(key, noted.len());
                noted.push(run);
            }
        }
        let records: Vec<Bytes> = noted
            .iter()
            .filter_map(|run| serde_json::to_vec(run).ok().map(Bytes::from))
            .collect();
        for records in records.chunks(1_000) {
            self.log.append(records).await?;
        }
        self.retain(Timestamp::now()).await
    }

    /// Lets go of what is too old or too much.
    pub(super) async fn retain(&self, now: Timestamp) -> Result<(), SegmentError> {
        let (log, config) = (Arc::clone(&self.log), self.config.clone());
        let retained = tokio::task::spawn_blocking(move || {
            let now_ms = now.as_millisecond().max(0).cast_unsigned();
            let segments = log.segments()?;
            let age = config.retention.get();
            let bytes = config.max_bytes.bytes();
            if let Some(up_to) = releasable(&segments, now_ms, Some(age), Some(bytes), u64::MAX) {
                log.release(up_to);
            }
            let oldest_open_ms = now_ms.saturating_sub((age / 8).as_millis() as u64);
            if segments
                .last()
                .is_some_and(|last| last.created_ms < oldest_open_ms)
            {
                log.roll();
            }
            Ok::<(), SegmentError>(())
        });
        retained.await.unwrap_or(Ok(()))
    }

    /// What it takes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log.stats().bytes
    }

    /// Shows all runs to `look`, oldest first.
    ///
    /// # Errors
    /// [`SegmentError`] if the ledger cannot be read.
    pub async fn each(&self, mut look: impl FnMut(Run)) -> Result<(), SegmentError> {
        let mut reader = self.log.reader(0);
        while !reader.is_at_end() {
            for record in reader.read_now(READ_BYTES).await? {
                if let Ok(run) = serde_json::from_slice::<Run>(&record.data) {
                    look(run);
                }
            }
        }
        Ok(())
    }
}
