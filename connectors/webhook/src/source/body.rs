//! Reading a body within bytes and time, and inflating it within bytes.

use std::{io::Read, time::Duration};

use bytes::{Bytes, BytesMut};
use headgate_sdk::http::Body;
use http::HeaderMap;
use http_body_util::BodyExt;

use super::within::within;

/// Codings that may be stacked on one body.
const MAX_CODINGS: usize = 4;
/// What a frame of zstd may ask for in memory: 8 MiB, what RFC 8878 recommends to support.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Too many bytes: 413.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// It did not arrive in time: 408.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The client went away: nobody reads the answer.
    #[error("the body ended early")]
    Incomplete,
    /// A coding that is not supported: 415.
    #[error("the content coding is not supported: use gzip, deflate, zstd or br")]
    UnsupportedCoding,
    /// Its compression is broken: 400.
    #[error("the body is not what its content coding says")]
    Corrupt,
}

/// Reads the whole body, never more than `max` bytes and never longer than `limit`.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    max: usize,
    limit: Duration,
) -> Result<Bytes, BodyError> {
    let announced = headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max as u64) {
        return Err(BodyError::TooLarge(max));
    }
    let collect = async {
        let mut first: Option<Bytes> = None;
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else {
                continue;
            };
            if first.as_ref().map_or(0, Bytes::len) + whole.len() + data.len() > max {
                return Err(BodyError::TooLarge(max));
            }
            match (first.take(), whole.is_empty()) {
                // The usual body is one frame: it is not copied.
                (None, true) => first = Some(data),
                (Some(before), _) => {
                    whole.extend_from_slice(&before);
                    whole.extend_from_slice(&data);
                }
                (None, false) => whole.extend_from_slice(&data),
            }
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    };
    let collected = within(limit, collect).await;
    collected.unwrap_or(Err(BodyError::TooSlow))
}

/// Whether the body is encoded.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    codings(headers).is_ok_and(|codings| !codings.is_empty()) || codings(headers).is_err()
}

fn codings(headers: &HeaderMap) -> Result<Vec<String>, BodyError> {
    let mut codings = Vec::new();
    for value in headers.get_all(http::header::CONTENT_ENCODING) {
        let value = value.to_str().map_err(|_| BodyError::UnsupportedCoding)?;
        let names = value
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase());
        codings.extend(names.filter(|name| !name.is_empty() && name != "identity"));
    }
    match codings.len() > MAX_CODINGS {
        true => Err(BodyError::UnsupportedCoding),
        false => Ok(codings),
    }
}

/// Undoes the codings that the headers name. No step ever holds more than `max` bytes.
///
/// # Errors
/// [`BodyError`]; a body over the limit is refused, never cut.
pub fn inflate(headers: &HeaderMap, body: &Bytes, max: usize) -> Result<Bytes, BodyError> {
    let mut body = body.clone();
    for coding in codings(headers)?.iter().rev() {
        body = match coding.as_str() {
            "gzip" | "x-gzip" => limited(flate2::read::MultiGzDecoder::new(&body[..]), max)?,
            "deflate" => deflate(&body, max)?,
            "zstd" => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&body[..])
                    .map_err(|_| BodyError::Corrupt)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG)
                    .map_err(|_| BodyError::Corrupt)?;
                limited(decoder, max)?
            }
            "br" => limited(
                brotli_decompressor::Decompressor::new(&body[..], 16 * 1024),
                max,
            )?,
            _ => return Err(BodyError::UnsupportedCoding),
        };
    }
    Ok(body)
}

/// `deflate` means zlib (RFC 9110), but some clients send it raw.
fn deflate(body: &[u8], max: usize) -> Result<Bytes, BodyError> {
    match limited(flate2::read::ZlibDecoder::new(body), max) {
        Err(BodyError::Corrupt) => limited(flate2::read::DeflateDecoder::new(body), max),
        done => done,
    }
}

fn limited(reader: impl Read, max: usize) -> Result<Bytes, BodyError> {
    let mut out = Vec::new();
    reader
        .take(max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| BodyError::Corrupt)?;
    match out.len() > max {
        true => Err(BodyError::TooLarge(max)),
        false => Ok(out.into()),
    }
}
