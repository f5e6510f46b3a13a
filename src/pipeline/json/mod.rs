//! JSON text that is edited in place: what an edit does not touch stays byte-identical.
//!
//! The texts are valid JSON (the caller made sure, see [`text_of`]); nothing here recurses into data, so that depth costs
//! no stack. A member that occurs twice on the way to the edited place is an error: no consumer could say which one counts.

mod edit;
mod pattern;
mod pointer;
mod scan;

pub use edit::{EditError, get, keep, remove, rename, set};
pub use pattern::{Pattern, replace_all};
pub use pointer::{Pointer, PointerError};

use headgate_sdk::Envelope;
use headgate_sdk::envelope::media_type;
use serde::de::IgnoredAny;

/// The data of `event` as one valid JSON text.
///
/// # Errors
/// What it is instead.
pub fn text_of(event: &Envelope) -> Result<&str, EditError> {
    let text = declared_of(event)?;
    if event.data.is_known_json() || serde_json::from_str::<IgnoredAny>(text).is_ok() {
        Ok(text)
    } else {
        Err(EditError::NotJson("the data is not valid JSON"))
    }
}

/// The data of `event` as a text that says of itself that it is JSON; nobody has looked yet.
///
/// # Errors
/// What it is instead.
pub(in crate::pipeline) fn declared_of(event: &Envelope) -> Result<&str, EditError> {
    let Some(bytes) = event.data.bytes() else {
        return Err(EditError::NotJson("the event has no data"));
    };
    if !event.data.is_known_json() && !media_type::is_json(&event.datacontenttype) {
        return Err(EditError::NotJson(
            "`datacontenttype` does not declare JSON",
        ));
    }
    std::str::from_utf8(bytes).map_err(|_| EditError::NotJson("the data is not UTF-8"))
}

/// Makes sure that the data of `event` is one valid JSON text, once for all steps that edit it.
///
/// # Errors
/// What it is instead.
pub fn check(event: &mut Envelope) -> Result<(), EditError> {
    if !event.data.is_known_json() {
        text_of(event)?;
        event.data.vouch_for_json();
    }
    Ok(())
}

/// The data of `event` as one valid JSON text, whatever its content type says; `None` if it is none.
#[must_use]
pub fn any_text_of(event: &Envelope) -> Option<&str> {
    let text = std::str::from_utf8(event.data.bytes()?).ok()?;
    (event.data.is_known_json() || serde_json::from_str::<IgnoredAny>(text).is_ok()).then_some(text)
}
