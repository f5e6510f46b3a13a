//! What of a dead letter may leave `data_dir`, where a pipeline redacts.

use std::sync::Arc;

use headgate_sdk::{Data, DeadLetter, Envelope, LaneId, Replay};

use crate::{
    dead_letters::source_name,
    pipeline::{
        LaneContext, PipelineBatch, Step,
        step::{Chain, Types},
    },
};

/// Takes away what a `redact` of its pipeline would have taken away, had the event come so far; all data and optional attributes, if that cannot
/// be told: another step moves values first, redacting fails, or the source is gone (`steps` is `None`). Tells whether the data is still there.
pub(super) fn protect(letter: &mut DeadLetter, steps: Option<&[Step]>) -> bool {
    let Some(steps) = steps else {
        bare(letter);
        return false;
    };
    let is_redact = |step: &Step| matches!(step, Step::Redact(_));
    let Some(last) = steps.iter().rposition(is_redact) else {
        return true;
    };
    let failed_at = place(letter, steps);
    if failed_at > last {
        return true;
    }
    // Messages of programs show values.
    letter.message = format!(
        "the event was not redacted yet: `headgate dead-letters list --id {}` tells more",
        letter.envelope.id
    )
    .into();
    let mut is_safe = true;
    for step in &steps[failed_at..=last] {
        is_safe &= match step {
            Step::Transform(_) | Step::Set(_) | Step::Rename(_) => false,
            Step::Redact(_) => redact(letter, step),
            _ => true,
        };
    }
    if !is_safe {
        bare(letter);
    }
    is_safe
}

/// Which step it failed at; the first, if that is not known.
fn place(letter: &DeadLetter, steps: &[Step]) -> usize {
    if letter.step.starts_with("sink/") {
        return steps.len();
    }
    let kind = std::mem::discriminant::<Step>;
    let names = steps.iter().enumerate().map(|(at, step)| {
        let earlier = steps[..at].iter().filter(|one| kind(one) == kind(step));
        step.name(earlier.count())
    });
    let mut names = names.enumerate();
    let found = names.find(|(_, name)| *name == letter.step.as_str());
    found.map_or(0, |(at, _)| at)
}

/// Whatever type the event has by now: what the step is for may be known by another.
fn redact(letter: &mut DeadLetter, step: &Step) -> bool {
    let Step::Redact(config) = step else {
        return false;
    };
    let mut config = config.clone();
    config.types = Types::default();
    let step = Step::Redact(config);
    let Some(redact) = step.event_step(&"redact".into()) else {
        return false;
    };
    let lane = LaneContext {
        id: LaneId::from_stored(""),
        source: source_name(letter).into(),
        tenant: letter.envelope.tenantid.clone(),
        replay: Replay::FromSource,
        shard: 0,
    };
    let mut batch = PipelineBatch::new(Arc::new(lane), vec![(*letter.envelope).clone()]);
    let _redacting_stores_nothing = Chain::from(redact).apply(&mut batch);
    match batch.events.pop() {
        Some(event) => {
            *letter.envelope = event;
            true
        }
        None => false,
    }
}

/// Leaves what names the event.
fn bare(letter: &mut DeadLetter) {
    let event = &letter.envelope;
    let mut left = Envelope::new(
        event.id.clone(),
        event.source.clone(),
        event.event_type.clone(),
        event.time,
        Data::default(),
    );
    left.recordedtime = event.recordedtime;
    left.tenantid = event.tenantid.clone();
    *letter.envelope = left;
}

#[cfg(test)]
mod tests {
    use headgate_sdk::Timestamp;
    use serde_json::json;

    use super::*;

    /// What may leave of an event that failed at `step` of a pipeline.
    fn left(steps: serde_json::Value, step: &str) -> (String, Option<String>, String) {
        let steps: Vec<Step> = serde_json::from_value(steps).unwrap();
        let mut event = Envelope::new(
            "e1",
            "urn:headgate:default:webhook:hooks",
            "a.v1",
            Timestamp::UNIX_EPOCH,
            Data::json(r#"{"card":"4711","n":1}"#.to_owned()),
        );
        event.subject = Some("card 4711".into());
        let mut letter = DeadLetter::new(event, step, "invalid", "it says 4711");
        let is_whole = protect(&mut letter, Some(&steps));
        let data = letter.envelope.data.bytes().map(|bytes| &bytes[..]);
        assert_eq!(is_whole, data.is_some());
        (
            String::from_utf8(data.unwrap_or_default().to_vec()).unwrap(),
            letter.envelope.subject.as_ref().map(ToString::to_string),
            letter.message.to_string(),
        )
    }

    #[test]
    fn what_redact_did_not_see_yet_does_not_leave() {
        let redact = json!({"redact": {"fields": ["/card", "subject"], "types": ["other.*"]}});
        let validate = json!({"max_hops": {"hops": 3}});
        let whole = r#"{"card":"4711","n":1}"#;
        let masked = r#"{"card":"****","n":1}"#;
        for (steps, step, data) in [
            // Nothing is to be protected.
            (json!([validate]), "max_hops", whole),
            // Before it.
            (json!([validate, redact]), "max_hops", masked),
            (json!([validate, redact]), "source", masked),
            (json!([validate, redact]), "a step of another time", masked),
            // Behind it, it has been done.
            (json!([redact, validate]), "max_hops", whole),
            (json!([redact, validate]), "sink/main", whole),
            // It failed itself: it is tried once more, whatever its types were.
            (json!([redact]), "redact", masked),
            // Another step would have moved the value to where it is redacted.
            (
                json!([validate, {"rename": {"fields": {"/card": "/c"}}}, redact]),
                "max_hops",
                "",
            ),
        ] {
            let (left, subject, message) = left(steps.clone(), step);
            assert_eq!(left, data, "{steps} {step}");
            let protected = data != whole;
            assert_eq!(subject.as_deref() == Some("card 4711"), !protected);
            assert_eq!(message.contains("4711"), !protected, "{message}");
        }
    }

    #[test]
    fn of_a_source_that_is_gone_only_the_name_leaves() {
        let event = Envelope::new(
            "e1",
            "urn:s",
            "a.v1",
            Timestamp::UNIX_EPOCH,
            Data::json("1"),
        );
        let mut letter = DeadLetter::new(event, "source", "source removed", "m");
        assert!(!protect(&mut letter, None));
        assert!(letter.envelope.data.bytes().is_none());
    }
}
