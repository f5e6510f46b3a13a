//! What the fuzz targets of the pipeline do with their bytes: send them through steps as the data of an event.

use headgate::pipeline::json::{self, Pointer};
use headgate::pipeline::script::{Numbers, Transform, Transformed};
use headgate_sdk::{Data, Envelope, Timestamp};

/// Edits of JSON text: what comes out is JSON, and says what the edit meant.
pub(crate) fn json_edit(input: &[u8]) {
    let event = event(input);
    let Ok(text) = json::text_of(&event) else {
        return;
    };
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    for pointer in ["/a", "/a/b", "/0", "/a/-", "/a/0/b", "/"] {
        let place: Pointer = pointer.parse().expect("a pointer");
        if let Ok(Some(found)) = json::get(text, &place) {
            same(
                found,
                value.as_ref().and_then(|value| value.pointer(pointer)),
            );
        }
        if let Ok(edited) = json::set(text, &place, "{\"n\":1}")
            && let Ok(edited) = serde_json::from_str::<serde_json::Value>(&edited)
        {
            assert!(edited.to_string().contains("{\"n\":1}"), "{pointer}");
        }
        if let Ok(Some(edited)) = json::remove(text, &place) {
            is_json(&edited, value.is_some());
        }
        if let Ok(Some(edited)) = json::rename(text, &place, &"/zz".parse().expect("a pointer")) {
            is_json(&edited, value.is_some());
        }
        if let Ok(edited) = json::keep(text, std::slice::from_ref(&place)) {
            is_json(&edited, value.is_some());
        }
    }
}

/// Programs over data: what they cannot hold they refuse, and what they do not touch stays as it is.
pub(crate) fn script_data(input: &[u8]) {
    thread_local! {
        static TOUCH: Transform = Transform::try_from(".touched = true".to_owned()).expect("it compiles");
        static LOOK: Transform = Transform::try_from("x = .a".to_owned()).expect("it compiles");
    }
    let before = event(input);
    let mut event = before.clone();
    let mut run = |program: &Transform| program.run(&mut event, Numbers::Exact, "fuzz", 10);
    if let Ok(done) = LOOK.with(&mut run) {
        assert_eq!(
            done,
            Transformed::Unchanged,
            "a program that only looks changed the event"
        );
    }
    // The second program sees the value that the first one left.
    let touched = TOUCH.with(&mut run);
    if touched.is_err() {
        assert_eq!(event, before, "a program that failed changed the event");
    } else {
        let bytes = event.data.bytes().expect("data");
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("programs write JSON");
        assert_eq!(value["touched"], true);
    }
}

fn event(input: &[u8]) -> Envelope {
    Envelope::new(
        "1",
        "urn:fuzz",
        "fuzz.v1",
        Timestamp::UNIX_EPOCH,
        Data::opaque(input.to_vec()),
    )
}

/// serde_json's tree has a depth and refuses half surrogate pairs; where it can read, both must see the same.
fn same(found: &str, expected: Option<&serde_json::Value>) {
    if let (Ok(found), Some(expected)) =
        (serde_json::from_str::<serde_json::Value>(found), expected)
    {
        assert_eq!(&found, expected);
    }
}

fn is_json(text: &str, expected: bool) {
    if expected {
        assert!(
            serde_json::from_str::<serde_json::Value>(text).is_ok(),
            "no JSON: {text}"
        );
    }
}
