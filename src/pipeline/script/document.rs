//! The data of an event as a value, parsed once for all steps that ask.

use headgate_sdk::envelope::media_type;
use headgate_sdk::{Data, Envelope, Str};
use vrl::value::Value;

use super::print::Printer;
use super::{Numbers, RunError, parse};

/// The value of an event's data. [`Document::of`] takes the one that a step before left with the event, [`Document::keep`] leaves
/// it there for the next.
#[derive(Debug)]
pub(in crate::pipeline) struct Document {
    pub(super) value: Value,
    /// Whether it says all that the text says: every number is one.
    exact: bool,
    /// Whether it is what the data says in JSON, and so of use to the next step.
    is_kept: bool,
}

impl Document {
    /// What `.` is: JSON as such, other text as a string, other bytes as bytes, no data as null.
    ///
    /// # Errors
    /// `invalid_data`, `unexact_number`.
    pub(in crate::pipeline) fn of(
        event: &mut Envelope,
        numbers: Numbers,
    ) -> Result<Self, RunError> {
        match event.data.take_parsed::<Self>() {
            Some(known) if known.exact || numbers == Numbers::Text => return Ok(known),
            _ => {}
        }
        let Some(bytes) = event.data.bytes() else {
            return Ok(Self::default());
        };
        if !event.data.is_known_json() && !media_type::is_json(&event.datacontenttype) {
            return Ok(Self::passing(Value::Bytes(bytes.clone())));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| RunError::new("invalid_data", "the data is not UTF-8"))?;
        let read = parse::parse(bytes, text, numbers)?;
        event.data.vouch_for_json();
        Ok(Self {
            value: read.value,
            exact: read.exact,
            is_kept: true,
        })
    }

    /// The value, if it says all that the text says.
    pub(in crate::pipeline) fn exactly(&self) -> Option<&Value> {
        self.exact.then_some(&self.value)
    }

    /// Leaves it with `event`, whose data says the same, until the event has gone through the steps in its row.
    pub(in crate::pipeline) fn keep(self, event: &mut Envelope) {
        if self.is_kept {
            event.data.keep_parsed(self);
        }
    }

    /// Makes `value` the data of `event`, which is JSON from then on. The event stays as it was if that fails.
    ///
    /// # Errors
    /// JSON cannot hold it.
    pub(super) fn write(mut value: Value, event: &mut Envelope) -> Result<(), RunError> {
        let mut printer = Printer::with_room(event.data.len() + 64);
        printer.print(&mut value)?;
        event.data = Data::json(printer.text);
        if !media_type::is_json(&event.datacontenttype) {
            event.datacontenttype = Str::new_static("application/json");
        }
        if printer.exact {
            let document = Self {
                value,
                exact: true,
                is_kept: true,
            };
            document.keep(event);
        }
        Ok(())
    }

    /// A value that is not to be kept.
    fn passing(value: Value) -> Self {
        Self {
            value,
            exact: false,
            is_kept: false,
        }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::passing(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use headgate_sdk::Timestamp;

    use super::*;

    fn event(data: &str) -> Envelope {
        let data = Data::opaque(data.to_owned());
        Envelope::new("1", "urn:s", "a.v1", Timestamp::UNIX_EPOCH, data)
    }

    fn is_kept(data: &str, numbers: Numbers) -> bool {
        let mut event = event(data);
        Document::of(&mut event, numbers).unwrap().keep(&mut event);
        event.data.parsed::<Document>().is_some()
    }

    #[test]
    fn a_value_stays_with_its_event() {
        assert!(is_kept(r#"{"a":1}"#, Numbers::Exact));
        assert!(is_kept(r#"{"a":1e400}"#, Numbers::Text));
        let mut event = event("no JSON");
        event.datacontenttype = "text/plain".into();
        let text = Document::of(&mut event, Numbers::Exact).unwrap();
        text.keep(&mut event);
        Document::default().keep(&mut event);
        assert!(event.data.parsed::<Document>().is_none());
    }

    #[test]
    fn a_number_that_was_read_as_text_is_no_number_for_the_next() {
        let mut event = event(r#"{"n":1e400}"#);
        let read = Document::of(&mut event, Numbers::Text).unwrap();
        assert!(read.exactly().is_none());
        read.keep(&mut event);
        assert!(Document::of(&mut event, Numbers::Text).is_ok());
        let refused = Document::of(&mut event, Numbers::Exact).unwrap_err();
        assert_eq!(refused.reason, "unexact_number");
    }

    #[test]
    fn what_was_written_is_kept_if_the_text_says_the_same() {
        let mut event = event("{}");
        Document::write(Value::from(5), &mut event).unwrap();
        assert!(event.data.parsed::<Document>().is_some());
        let instant = Value::Timestamp(chrono::DateTime::UNIX_EPOCH);
        Document::write(instant, &mut event).unwrap();
        assert!(event.data.parsed::<Document>().is_none());
        let before = event.clone();
        let refused = Document::write(Value::from(&b"\xff"[..]), &mut event);
        assert_eq!(
            (refused.unwrap_err().reason, event),
            ("invalid_data", before)
        );
    }
}
