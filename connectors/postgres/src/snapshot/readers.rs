//! The readers, and the tables that wait for one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::{FromReader, Progress, worker::Worker};
use crate::{config::Checked, control::Client, replication::Server};

/// What readers need.
pub(crate) struct ReadersSettings {
    pub(crate) checked: Arc<Checked>,
    pub(crate) version: u32,
    /// Whether text may be anything.
    pub(crate) raw: bool,
    pub(crate) session: String,
    pub(crate) mark_prefix: String,
    /// Where watermarks are written; `None` where they cannot be.
    pub(crate) marks: Option<Server>,
}

/// A pool of readers that starts with the first table.
pub(crate) struct Readers {
    settings: ReadersSettings,
    queue: Arc<Queue>,
    tasks: JoinSet<()>,
    windows: Arc<AtomicU64>,
    sender: mpsc::Sender<FromReader>,
    receiver: mpsc::Receiver<FromReader>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Progress>>,
    news: Notify,
}

impl Queue {
    fn push(&self, job: Progress) {
        self.lock().push_back(job);
        self.news.notify_one();
    }

    async fn pop(&self) -> Progress {
        loop {
            let news = self.news.notified();
            let (job, more) = {
                let mut jobs = self.lock();
                (jobs.pop_front(), !jobs.is_empty())
            };
            if let Some(job) = job {
                if more {
                    self.news.notify_one();
                }
                return job;
            }
            news.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Progress>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers {
    pub(crate) fn new(settings: ReadersSettings) -> Self {
        let (sender, receiver) =
            mpsc::channel(2 * usize::from(settings.checked.config.snapshot.parallel));
        Self {
            settings,
            queue: Arc::default(),
            tasks: JoinSet::new(),
            windows: Arc::new(AtomicU64::new(1)),
            sender,
            receiver,
        }
    }

    /// Whether watermarks can be written.
    pub(crate) fn can_read(&self) -> bool {
        self.settings.marks.is_some()
    }

    /// Reads `table`, from where it was left.
    pub(crate) fn read(&mut self, table: Progress) {
        let Some(marks) = &self.settings.marks else {
            return;
        };
        if self.tasks.len() < usize::from(self.settings.checked.config.snapshot.parallel) {
            let mut worker = Worker {
                checked: Arc::clone(&self.settings.checked),
                version: self.settings.version,
                session: self.settings.session.clone(),
                mark_prefix: self.settings.mark_prefix.clone(),
                windows: Arc::clone(&self.windows),
                out: self.sender.clone(),
                reader: Client::reading(self.settings.checked.server.clone(), self.settings.raw),
                marks: Client::new(marks.clone()),
                kinds: HashMap::new(),
            };
            let queue = Arc::clone(&self.queue);
            self.tasks.spawn(async move {
                loop {
                    let job = queue.pop().await;
                    if !worker.read(job).await {
                        return;
                    }
                }
            });
        }
        self.queue.push(table);
    }

    /// The next news of a reader. Cancel safe.
    pub(crate) async fn next(&mut self) -> FromReader {
        match self.receiver.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}
