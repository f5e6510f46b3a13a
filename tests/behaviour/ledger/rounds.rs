//! Rounds: a gateway lives for a moment, under load, and dies in some way.

use std::{
    path::Path,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    audit::Accepted,
    feeds::{self, Database, Shared},
};
use crate::support::{
    broker::OwnBroker,
    gateway::{self, Place, Running},
};

/// Generous: in hundreds of rounds, a busy machine has its worst moments.
const DEADLINE: Duration = gateway::DEADLINE.saturating_mul(2);

const CLIENTS: u64 = 3;
/// So many webhooks are accepted before the moment comes, however slow the machine is.
const ENOUGH: usize = 15;

/// When it dies at a place that is reached again and again. A shard is taken once, by the lanes of the journal and by the others.
fn times(place: &str, below: u64, random: &mut fastrand::Rng) -> u64 {
    random.u64(
        1..if place.starts_with("shard-") {
            3
        } else {
            below
        },
    )
}

pub(super) struct Rounds<'a> {
    place: &'a Place,
    folder: &'a Path,
    database: &'a Database,
    failpoints: &'a [&'static str],
    broker: Option<&'a OwnBroker>,
}

/// How a round ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// At a failpoint, when it was reached so often.
    Failpoint(&'static str, u64),
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// The connection to the database is cut first, and then it is killed.
    Cut,
    /// The broker stands still for a moment, and it is killed meanwhile.
    Pause,
    /// The broker dies too.
    Broker,
}

impl End {
    const fn word(self) -> &'static str {
        match self {
            Self::Failpoint(..) => "failpoints",
            Self::Kill => "kills",
            Self::Stop => "restarts",
            Self::Cut => "cuts",
            Self::Pause => "broker_pauses",
            Self::Broker => "broker_kills",
        }
    }
}

impl<'a> Rounds<'a> {
    pub(super) fn new(
        place: &'a Place,
        folder: &'a Path,
        database: &'a Database,
        failpoints: &'a [&'static str],
        broker: Option<&'a OwnBroker>,
    ) -> Self {
        std::fs::create_dir_all(folder.join("inbox")).unwrap();
        Self {
            place,
            folder,
            database,
            failpoints,
            broker,
        }
    }

    /// Runs so many rounds; returns what was accepted.
    pub(super) async fn run(&self, rounds: u64) -> Accepted {
        let seed = fastrand::u64(..);
        println!("ledger: seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let accepted: Shared = Arc::default();
        accepted.lock().rounds = rounds;
        let stop = CancellationToken::new();
        let feeding = async {
            tokio::join!(
                feeds::drop_files(self.folder, Arc::clone(&accepted), stop.clone()),
                self.database.insert(Arc::clone(&accepted), stop.clone()),
            )
        };
        let living = async {
            let mut next = [0; CLIENTS as usize];
            for round in 0..rounds {
                let end = self.end(round, &mut random);
                self.round(end, &mut next, &accepted, &mut random).await;
                *accepted
                    .lock()
                    .deaths
                    .entry(end.word().to_owned())
                    .or_default() += 1;
            }
            stop.cancel();
        };
        tokio::join!(feeding, living);
        let accepted = accepted.lock();
        accepted.clone()
    }

    /// Each failpoint once, and then whatever comes.
    fn end(&self, round: u64, random: &mut fastrand::Rng) -> End {
        if let Some(&place) = self.failpoints.get(round as usize) {
            return End::Failpoint(place, times(place, 4, random));
        }
        match (random.u8(..12), self.broker) {
            (0..4, _) => End::Kill,
            (4, _) => End::Stop,
            (5 | 6, _) => End::Cut,
            (7, Some(_)) => End::Pause,
            (8, Some(_)) if round % 10 == 9 => End::Broker,
            _ => {
                let place = self.failpoints[random.usize(..self.failpoints.len())];
                End::Failpoint(place, times(place, 20, random))
            }
        }
    }

    async fn round(
        &self,
        end: End,
        next: &mut [u64; CLIENTS as usize],
        accepted: &Shared,
        random: &mut fastrand::Rng,
    ) {
        let failpoint = match end {
            End::Failpoint(place, times) => Some(format!("{place}:{times}")),
            _ => None,
        };
        let before = accepted.lock().of('w');
        let mut running = self.place.launch(failpoint.as_deref());
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for (client, number) in next.iter().copied().enumerate() {
            let (address, accepted, stop) = (running.http, Arc::clone(accepted), stop.clone());
            clients.spawn(async move {
                let next = feeds::post(address, client as u64, number, accepted, stop).await;
                (client, next)
            });
        }
        if let End::Failpoint(place, _) = end {
            let status = self.death(&mut running, place).await;
            assert!(
                !status.success(),
                "it ended by itself: {}",
                self.place.log()
            );
        } else {
            self.readiness(&mut running).await;
            let is_enough = async || accepted.lock().of('w') >= before + ENOUGH;
            self.place.until("under way", is_enough).await;
            tokio::time::sleep(Duration::from_millis(random.u64(20..500))).await;
            self.finish(end, running, random).await;
        }
        stop.cancel();
        while let Some(ended) = clients.join_next().await {
            let (client, number) = ended.unwrap();
            next[client] = number;
        }
    }

    async fn finish(&self, end: End, running: Running, random: &mut fastrand::Rng) {
        let moment = Duration::from_millis(random.u64(20..300));
        match (end, self.broker) {
            (End::Stop, _) => {
                let stopped = tokio::task::spawn_blocking(move || running.stop());
                assert!(stopped.await.unwrap().success(), "{}", self.place.log());
            }
            (End::Cut, _) => {
                self.database.cut().await;
                tokio::time::sleep(moment).await;
                running.kill();
            }
            (End::Pause, Some(broker)) => {
                broker.pause();
                tokio::time::sleep(moment).await;
                running.kill();
                broker.resume();
            }
            (End::Broker, Some(broker)) => {
                broker.kill();
                tokio::time::sleep(moment).await;
                running.kill();
                broker.start_again();
            }
            _ => running.kill(),
        }
    }

    /// Waits until it takes events in; a gateway that is not there yet proves little.
    async fn readiness(&self, running: &mut Running) {
        let started = Instant::now();
        while !running.is_ready().await {
            if let Some(status) = running.ended() {
                panic!("the gateway ended with {status}: {}", self.place.log());
            }
            assert!(
                started.elapsed() < DEADLINE,
                "not ready: {}",
                self.place.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it dies at a failpoint.
    async fn death(&self, running: &mut Running, place: &str) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = running.ended() {
                return status;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "`{place}` was never reached; {}",
                super::state(running).await
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
