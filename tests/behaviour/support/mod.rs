//! What the tests share: servers, a gateway as a process, a client.

pub(crate) mod gateway;
pub(crate) mod http;

/// `few` in an ordinary run, `many` when the scale of the tests is `long`.
pub(crate) fn scale(few: u64, many: u64) -> u64 {
    match std::env::var("HEADGATE_TEST_SCALE") {
        Ok(scale) if scale == "long" => many,
        _ => few,
    }
}
