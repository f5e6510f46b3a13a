//! VRL's value into JSON text.

use headgate_sdk::envelope::json::write_string;
use vrl::value::Value;

use super::RunError;

/// A text that is being written.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) text: Vec<u8>,
    /// Whether the text says all that the value says: an instant becomes a string, so that only the text may go on.
    pub(super) exact: bool,
}

impl Printer {
    /// An empty text with room for `bytes`.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes),
            exact: true,
        }
    }

    /// Appends `value`. Of VRL's two kinds of strings only the one that [`parse`](super::parse) makes is left in it.
    ///
    /// # Errors
    /// A string is not UTF-8, or a number infinite.
    pub(super) fn print(&mut self, value: &mut Value) -> Result<(), RunError> {
        if let Value::String(text) = value {
            *value = Value::Bytes(std::mem::take(text).into_bytes());
        }
        match value {
            Value::Null => self.text.extend_from_slice(b"null"),
            Value::Boolean(true) => self.text.extend_from_slice(b"true"),
            Value::Boolean(false) => self.text.extend_from_slice(b"false"),
            Value::Integer(number) => {
                let mut digits = itoa::Buffer::new();
                self.text
                    .extend_from_slice(digits.format(*number).as_bytes());
            }
            Value::Float(number) => {
                let number = number.into_inner();
                if !number.is_finite() {
                    return Err(RunError::new(
                        "unexact_number",
                        "the result holds an infinite number, which JSON does not know",
                    ));
                }
                serde_json::to_writer(&mut self.text, &number).expect("a vector takes everything");
            }
            Value::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| RunError::new("invalid_data", "the result holds a string that is not UTF-8: encode it, for example with `encode_base64`"))?;
                write_string(text, &mut self.text);
            }
            Value::Object(map) => {
                self.text.push(b'{');
                for (index, (key, value)) in map.iter_mut().enumerate() {
                    if index > 0 {
                        self.text.push(b',');
                    }
                    write_string(key.as_str(), &mut self.text);
                    self.text.push(b':');
                    self.print(value)?;
                }
                self.text.push(b'}');
            }
            Value::Array(array) => {
                self.text.push(b'[');
                for (index, value) in array.iter_mut().enumerate() {
                    if index > 0 {
                        self.text.push(b',');
                    }
                    self.print(value)?;
                }
                self.text.push(b']');
            }
            Value::String(_) | Value::Regex(_) | Value::Timestamp(_) => {
                self.exact = false;
                write_string(&value.to_string_lossy(), &mut self.text);
            }
        }
        Ok(())
    }
}
