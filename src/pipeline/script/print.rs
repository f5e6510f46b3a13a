//! VRL's value into JSON text.

use headgate_sdk::envelope::json::write_string;
use vrl::value::Value;

use super::RunError;

/// Appends `value`.
///
/// # Errors
/// A string is not UTF-8.
pub(super) fn print(value: &Value, out: &mut Vec<u8>) -> Result<(), RunError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Float(number) => {
            let number = serde_json::Number::from_f64(number.into_inner());
            let number = number.ok_or_else(|| {
                RunError::new(
                    "unexact_number",
                    "the result holds an infinite number, which JSON does not know",
                )
            })?;
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| RunError::new("invalid_data", "the result holds a string that is not UTF-8: encode it, for example with `encode_base64`"))?;
            write_string(text, out);
        }
        Value::Object(map) => {
            out.push(b'{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key.as_str(), out);
                out.push(b':');
                print(value, out)?;
            }
            out.push(b'}');
        }
        Value::Array(array) => {
            out.push(b'[');
            for (index, value) in array.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                print(value, out)?;
            }
            out.push(b']');
        }
        Value::String(_) | Value::Regex(_) | Value::Timestamp(_) => {
            write_string(&value.to_string_lossy(), out)
        }
    }
    Ok(())
}
