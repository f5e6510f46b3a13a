//! Tells a topic what waits among the dead letters.
//!
//! The store in `data_dir` is where letters are; the topic follows it, within a second or as soon as Kafka answers, and nobody waits for it. How
//! far it has come is a checkpoint of its own; after a crash a little is told again, which changes nothing in a compacted topic.

use std::{sync::Arc, time::Duration};

use headgate_sdk::{Data, DeadLetter, Envelope, LaneId, Position, Str, Timestamp};

use super::{Gateway, protect::protect};
use crate::{
    dead_letters::{Change, Kept, Name, Resolution, Resolved, source_name},
    runtime::Commit,
    sink::{
        Checkpoint, Record,
        kafka::{Letter, LetterTopic},
    },
};

/// The lane under which is kept how far the topic is.
const LANE: &str = "dead-letters:/";
const AGAIN: Duration = Duration::from_secs(1);

impl Gateway {
    /// Begins, if a sink is to have such a topic.
    pub(super) fn publish_dead_letters(&self) {
        let mut sinks = self.inner.stack.sinks.iter();
        if let Some(topic) = sinks.find_map(|plan| plan.sink.dead_letters()) {
            let (gateway, topic) = (self.clone(), Arc::clone(topic));
            self.inner.tasks.spawn(async move {
                let stop = gateway.inner.stop.clone();
                stop.run_until_cancelled(gateway.publish(&topic)).await;
            });
        }
    }

    async fn publish(&self, topic: &LetterTopic) {
        let lane = LaneId::from_stored(LANE);
        let told = self.inner.checkpoints.restored(&lane);
        let told = told
            .ok()
            .flatten()
            .and_then(|stored| stored.position?.decode::<u64>().ok());
        let mut changes = self.inner.dead_letters.follow(told.unwrap_or(0));
        loop {
            let (batch, last, missed) = match changes.next().await {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(error) => {
                    return tracing::error!(%error, "the topic of dead letters is not brought up to date before the next start");
                }
            };
            if missed && told.is_some() {
                tracing::error!(topic = %topic.name(), "Kafka was away for so long that some resolved letters still stand in the topic: \
                     `headgate dead-letters list` knows which wait");
            }
            let letters: Vec<Letter> = batch
                .into_iter()
                .filter_map(|change| self.letter(topic.name(), change))
                .collect();
            while let Err(error) = topic.write(&letters).await {
                tracing::warn!(topic = %topic.name(), %error, "dead letters are not published yet");
                tokio::time::sleep(AGAIN).await;
            }
            let checkpoint = Checkpoint {
                position: Some(Position::encode(&last)),
                ..Checkpoint::default()
            };
            let commit = Commit {
                lane: lane.clone(),
                checkpoint,
                mark: None,
                done: None,
            };
            self.inner.checkpoints.commit(commit).await;
            self.inner.checkpoints.flush().await;
            changes.pass(last);
        }
    }

    fn letter(&self, topic: &Str, change: Change) -> Option<Letter> {
        let instance = &self.inner.data_dir.identity().instance;
        match change {
            // What became of it comes later.
            Change::Written(kept) if !self.inner.dead_letters.waits(kept.position) => None,
            Change::Written(kept) => {
                let Kept {
                    position,
                    mut letter,
                    apart,
                } = *kept;
                let steps = self.steps_of(source_name(&letter));
                let is_whole = protect(&mut letter, steps.as_deref());
                let mut headers = headers(&letter, position, instance);
                if let Some(path) = apart {
                    headers.push(("headgate-error-data-file".into(), text(&path.display())));
                } else if !is_whole {
                    let why = "left out: the event was not redacted yet";
                    headers.push(("headgate-error-data".into(), why.into()));
                }
                Some(Letter::Waiting(Record {
                    key: Some(key(&Name::of(&letter))),
                    topic: topic.clone(),
                    headers,
                    envelope: *letter.envelope,
                }))
            }
            Change::Resolved(Resolved {
                how,
                name: Some(name),
                ..
            }) => {
                let how = match how {
                    Resolution::Retried => "retried",
                    Resolution::Discarded => "discarded",
                };
                let headers = vec![
                    ("headgate-error-resolution".into(), how.into()),
                    ("headgate-instance".into(), instance.clone()),
                ];
                Some(Letter::Resolved(Record {
                    key: Some(key(&name)),
                    topic: topic.clone(),
                    headers,
                    envelope: Envelope::new(
                        name.id,
                        name.source,
                        name.event_type,
                        Timestamp::now(),
                        Data::default(),
                    ),
                }))
            }
            Change::Resolved(Resolved { name: None, .. }) => None,
        }
    }

    /// The pipeline of a source, `None` if there is no such source.
    fn steps_of(&self, source: &str) -> Option<Vec<crate::pipeline::Step>> {
        let config = self.inner.config.lock();
        let source = config.sources.iter().find(|one| one.name == source)?;
        let steps = config.pipelines.get(source.common.pipeline());
        Some(steps.cloned().unwrap_or_default())
    }
}

fn headers(letter: &DeadLetter, position: u64, instance: &Str) -> Vec<(Str, Str)> {
    let mut headers = vec![
        ("headgate-error-step".into(), letter.step.clone()),
        ("headgate-error-reason".into(), letter.reason.clone()),
        ("headgate-error-message".into(), letter.message.clone()),
        ("headgate-error-attempts".into(), text(&letter.attempts)),
        ("headgate-error-time".into(), text(&letter.failed_at)),
        ("headgate-error-position".into(), text(&position)),
        ("headgate-instance".into(), instance.clone()),
    ];
    if let Some(place) = &letter.place {
        headers.push(("headgate-error-place".into(), place.clone()));
    }
    headers
}

fn key(name: &Name) -> Str {
    format!("{}/{}/{}", name.source, name.id, name.step).into()
}

fn text(value: &dyn std::fmt::Display) -> Str {
    value.to_string().into()
}
