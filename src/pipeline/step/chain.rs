//! Steps in a row.

use std::{fmt, sync::Arc};

use headgate_sdk::{DeadLetter, Entry, Envelope, Timestamp};

use super::{EventStep, Verdict};
use crate::pipeline::{LaneContext, PipelineBatch};

/// Steps in a row. Each event goes through all of them before the next one does, so that what a step made of its data is there for
/// the next step while it is still in the processor's cache, and there is never more than one of it. Clones share the steps.
#[derive(Clone)]
pub struct Chain(Arc<[Arc<dyn EventStep>]>);

/// A batch on its way through a chain.
#[derive(Debug)]
pub struct Passage<'a> {
    /// Whose events they are.
    pub lane: &'a LaneContext,
    /// The time, for all events of the batch.
    pub now: Timestamp,
    /// What has to be stored before the batch goes on.
    pub changes: Vec<Entry>,
    /// What failed so far.
    pub rejected: Vec<DeadLetter>,
}

impl<'a> Passage<'a> {
    /// A batch of `lane`, now; `rejected` failed before.
    #[must_use]
    pub fn new(lane: &'a LaneContext, rejected: Vec<DeadLetter>) -> Self {
        Self {
            lane,
            now: Timestamp::now(),
            changes: Vec::new(),
            rejected,
        }
    }
}

/// What a step of a chain said that lets the event not pass as it is, and the place of the step.
struct Stopped {
    at: usize,
    verdict: Verdict,
}

impl Chain {
    /// These steps, in this order.
    #[must_use]
    pub fn new(steps: Vec<Arc<dyn EventStep>>) -> Self {
        Self(steps.into())
    }

    /// Passes on, changes, drops or rejects the events of `batch`. Order stays; what disappears is counted or becomes a dead
    /// letter. Returns what has to be stored before the batch goes on.
    pub fn apply(&self, batch: &mut PipelineBatch) -> Vec<Entry> {
        self.apply_at(Timestamp::now(), batch)
    }

    /// The same at another time.
    pub fn apply_at(&self, now: Timestamp, batch: &mut PipelineBatch) -> Vec<Entry> {
        let lane = Arc::clone(&batch.lane);
        let mut passage = Passage {
            now,
            ..Passage::new(&lane, std::mem::take(&mut batch.rejected))
        };
        // Nearly always every event passes in place: only others make the batch move.
        let mut stopped = Vec::new();
        for (index, event) in batch.events.iter_mut().enumerate() {
            let stop = self.ask(0, event, &mut passage);
            // Nobody behind the chain asks for what was made of the data.
            event.data.forget_parsed();
            stopped.extend(stop.map(|stop| (index, stop)));
        }
        if !stopped.is_empty() {
            let mut stopped = stopped.into_iter().peekable();
            let events = std::mem::take(&mut batch.events);
            batch.events.reserve(events.len());
            for (index, event) in events.into_iter().enumerate() {
                match stopped.next_if(|(other, _)| *other == index) {
                    None => batch.events.push(event),
                    Some((_, stop)) => self.end(event, stop, &mut passage, &mut |mut event, _| {
                        event.data.forget_parsed();
                        batch.events.push(event);
                    }),
                }
            }
        }
        batch.rejected = passage.rejected;
        passage.changes
    }

    /// Sends one event through all steps; `pass` gets what comes out, with what a step made of its data.
    pub fn send(
        &self,
        event: Envelope,
        passage: &mut Passage<'_>,
        pass: &mut dyn FnMut(Envelope, &mut Passage<'_>),
    ) {
        self.send_from(0, event, passage, pass);
    }

    fn send_from(
        &self,
        first: usize,
        mut event: Envelope,
        passage: &mut Passage<'_>,
        pass: &mut dyn FnMut(Envelope, &mut Passage<'_>),
    ) {
        match self.ask(first, &mut event, passage) {
            None => pass(event, passage),
            Some(stop) => self.end(event, stop, passage, pass),
        }
    }

    /// Sends an event in its place through the steps from `first` on; `None` if it passed.
    fn ask(
        &self,
        first: usize,
        event: &mut Envelope,
        passage: &mut Passage<'_>,
    ) -> Option<Stopped> {
        for (at, step) in self.0.iter().enumerate().skip(first) {
            let head = step.head();
            if !head.is_for(event) {
                continue;
            }
            match head.settle(step.judge(event, passage), event) {
                Verdict::Pass => {}
                verdict => return Some(Stopped { at, verdict }),
            }
        }
        None
    }

    /// Does what the step said.
    fn end(
        &self,
        mut event: Envelope,
        Stopped { at, verdict }: Stopped,
        passage: &mut Passage<'_>,
        pass: &mut dyn FnMut(Envelope, &mut Passage<'_>),
    ) {
        let head = self.0[at].head();
        match verdict {
            Verdict::Pass => pass(event, passage),
            Verdict::Drop => head.count_dropped(),
            Verdict::Replace(children) if children.is_empty() => head.count_dropped(),
            Verdict::Replace(children) => {
                for child in children {
                    self.send_from(at + 1, child, passage, pass);
                }
            }
            Verdict::Fail { reason, message } => {
                event.data.forget_parsed();
                let letter = DeadLetter::new(event, head.name().clone(), reason, message);
                passage.rejected.push(letter);
            }
        }
    }
}

impl From<Arc<dyn EventStep>> for Chain {
    fn from(step: Arc<dyn EventStep>) -> Self {
        Self::new(vec![step])
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|step| step.head().name());
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
#[cfg(feature = "vrl")]
mod tests {
    use headgate_sdk::{Data, LaneId, Replay};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::pipeline::{LayerStates, Step, stack::PipelinePlan};

    /// Steps that drop, fail, fan out, change and remember.
    fn plan() -> PipelinePlan {
        let steps: Vec<Step> = serde_json::from_value(json!([
            {"filter": {"keep": ".n != 3"}},
            {"transform": {"types": ["a.v1"], "vrl": "if .n == 4 { . = [{\"n\": 14}, {\"n\": 3}, {\"n\": 15}] } else { .seen = true }"}},
            {"filter": {"name": "small", "keep": "int!(.n) < 15", "on_error": "pass"}},
            {"transform": {"name": "fails", "vrl": "if .n == 5 { abort }"}},
            {"set": {"fields": {"subject": "{/n}"}}},
            {"dedup": {"key": "%subject", "window": "1h"}},
        ]))
        .unwrap();
        PipelinePlan::new("p", &steps)
    }

    fn batch(numbers: &[(u8, bool)]) -> PipelineBatch {
        let lane = LaneContext {
            id: LaneId::from_stored("lane"),
            source: "s".into(),
            tenant: "default".into(),
            replay: Replay::FromSource,
            shard: 0,
        };
        let event = |(at, &(n, special)): (usize, &(u8, bool))| {
            let event_type = if special { "a.v1" } else { "b.v1" };
            // Some are no JSON at all.
            let data = if n == 9 {
                "{".to_owned()
            } else {
                format!(r#"{{"n": {n}}}"#)
            };
            let data = Data::opaque(data);
            Envelope::new(
                at.to_string(),
                "urn:s",
                event_type,
                Timestamp::UNIX_EPOCH,
                data,
            )
        };
        let events = numbers.iter().enumerate().map(event).collect();
        PipelineBatch::new(Arc::new(lane), events)
    }

    /// What failed, in an order that says nothing.
    fn letters(batch: &PipelineBatch) -> Vec<String> {
        let letter = |letter: &DeadLetter| {
            format!("{} {} {:?}", letter.step, letter.message, letter.envelope)
        };
        let mut letters: Vec<String> = batch.rejected.iter().map(letter).collect();
        letters.sort();
        letters
    }

    proptest! {
        /// Events one after the other come out as if each step had had the whole batch, and leave nothing parsed.
        #[test]
        fn a_chain_is_its_steps_one_after_the_other(numbers in proptest::collection::vec((0_u8..10, any::<bool>()), 0..12)) {
            let mut stepwise = batch(&numbers);
            for (_, step) in plan().event_steps(&LayerStates::default()) {
                step.apply(&mut stepwise);
            }
            let steps = plan().event_steps(&LayerStates::default());
            let chain: Vec<_> = steps.iter().flat_map(|(_, step)| step.0.iter().cloned()).collect();
            let chain = Chain::new(chain);
            let mut in_place = batch(&numbers);
            chain.apply(&mut in_place);
            prop_assert_eq!(&in_place.events, &stepwise.events);
            prop_assert_eq!(letters(&in_place), letters(&stepwise));
            let shown = format!("{in_place:?}");
            prop_assert!(!shown.contains("kept"), "{}", shown);

            let fresh = plan().event_steps(&LayerStates::default());
            let chain = Chain::new(fresh.iter().flat_map(|(_, step)| step.0.iter().cloned()).collect());
            let mut sent = batch(&numbers);
            let lane = Arc::clone(&sent.lane);
            let mut passage = Passage::new(&lane, Vec::new());
            let mut passed = Vec::new();
            for event in std::mem::take(&mut sent.events) {
                chain.send(event, &mut passage, &mut |event, _| passed.push(event));
            }
            sent.rejected = passage.rejected;
            prop_assert_eq!(&passed, &stepwise.events);
            prop_assert_eq!(letters(&sent), letters(&stepwise));
        }
    }
}
