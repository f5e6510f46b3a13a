//! The codec for journal, log and spool: compact, versioned, and quick both ways.
//!
//! A record is its length (4 bytes, little-endian, of what follows), the codec's version, flags for what is present, then
//! the values in the order of the flags; numbers are LEB128 varints, strings and data carry their length. Decoding takes
//! data as a slice of the input and never panics: what is not a record of this version is an error.
//!
//! A reader knows its own version only; whoever adds a flag raises [`VERSION`] and keeps reading the old one.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Data, Envelope, ExtensionValue, Extensions, Op, Str, Timestamp};

/// The version that [`encode`] writes.
pub const VERSION: u8 = 1;

/// Bytes that are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the record says that it has.
    #[error("an envelope record is cut short")]
    Truncated,
    /// A newer release wrote it, or it is not a record.
    #[error(
        "an envelope record has version {0}, which this release does not know; a newer one wrote it, or it is damaged"
    )]
    Version(u8),
    /// Its contents contradict each other.
    #[error("an envelope record is damaged: {0}")]
    Damaged(&'static str),
}

const RECORDEDTIME_IS_TIME: u32 = 1 << 0;
const CORRELATIONID_IS_ID: u32 = 1 << 1;
const CONTENT_TYPE_IS_JSON: u32 = 1 << 2;
const TENANT_IS_DEFAULT: u32 = 1 << 3;
const DATA: u32 = 1 << 4;
const DATA_IS_KNOWN_JSON: u32 = 1 << 5;
const EXPIRYTIME: u32 = 1 << 6;
const HOP: u32 = 1 << 7;
const OP: u32 = 1 << 8;
const EXTENSIONS: u32 = 1 << 9;
const FIRST_OPTIONAL: u32 = 10;
const OPTIONAL_COUNT: usize = 13;
const KNOWN: u32 = (1 << (FIRST_OPTIONAL + 13)) - 1;

fn optional(envelope: &Envelope) -> [&Option<Str>; OPTIONAL_COUNT] {
    [
        &envelope.subject,
        &envelope.partitionkey,
        &envelope.dataschema,
        &envelope.causationid,
        &envelope.sequence,
        &envelope.traceparent,
        &envelope.tracestate,
        &envelope.idempotencykey,
        &envelope.dataref,
        &envelope.authtype,
        &envelope.authid,
        &envelope.replayid,
        &envelope.originsource,
    ]
}

fn optional_mut(envelope: &mut Envelope) -> [&mut Option<Str>; OPTIONAL_COUNT] {
    [
        &mut envelope.subject,
        &mut envelope.partitionkey,
        &mut envelope.dataschema,
        &mut envelope.causationid,
        &mut envelope.sequence,
        &mut envelope.traceparent,
        &mut envelope.tracestate,
        &mut envelope.idempotencykey,
        &mut envelope.dataref,
        &mut envelope.authtype,
        &mut envelope.authid,
        &mut envelope.replayid,
        &mut envelope.originsource,
    ]
}

/// Appends `envelope` as one record.
///
/// # Errors
/// The record would be longer than 4 GiB; `out` is then as it was.
pub fn encode(envelope: &Envelope, out: &mut BytesMut) -> Result<(), WireError> {
    let start = out.len();
    out.reserve(256 + envelope.data.len());
    out.put_u32_le(0);
    out.put_u8(VERSION);
    let flags = flags(envelope);
    out.put_u32_le(flags);
    put_str(out, &envelope.id);
    put_str(out, &envelope.source);
    put_str(out, &envelope.event_type);
    put_time(out, envelope.time);
    if flags & RECORDEDTIME_IS_TIME == 0 {
        put_time(out, envelope.recordedtime);
    }
    if flags & CORRELATIONID_IS_ID == 0 {
        put_str(out, &envelope.correlationid);
    }
    if flags & CONTENT_TYPE_IS_JSON == 0 {
        put_str(out, &envelope.datacontenttype);
    }
    if flags & TENANT_IS_DEFAULT == 0 {
        put_str(out, &envelope.tenantid);
    }
    if let Some(at) = envelope.expirytime {
        put_time(out, at);
    }
    if let Some(hop) = envelope.hop {
        put_varint(out, zigzag(i64::from(hop)));
    }
    if let Some(op) = envelope.op {
        out.put_slice(op.as_str().as_bytes());
    }
    for value in optional(envelope).into_iter().flatten() {
        put_str(out, value);
    }
    if flags & EXTENSIONS != 0 {
        put_extensions(out, &envelope.extensions);
    }
    if let Some(data) = envelope.data.bytes() {
        put_varint(out, data.len() as u64);
        out.put_slice(data);
    }
    let Ok(length) = u32::try_from(out.len() - start - 4) else {
        out.truncate(start);
        return Err(WireError::Damaged("longer than 4 GiB"));
    };
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn flags(envelope: &Envelope) -> u32 {
    let when = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let mut flags = when(envelope.recordedtime == envelope.time, RECORDEDTIME_IS_TIME)
        | when(envelope.correlationid == envelope.id, CORRELATIONID_IS_ID)
        | when(envelope.datacontenttype == JSON, CONTENT_TYPE_IS_JSON)
        | when(envelope.tenantid == DEFAULT_TENANT, TENANT_IS_DEFAULT)
        | when(envelope.data.bytes().is_some(), DATA)
        | when(envelope.data.is_known_json(), DATA_IS_KNOWN_JSON)
        | when(envelope.expirytime.is_some(), EXPIRYTIME)
        | when(envelope.hop.is_some(), HOP)
        | when(envelope.op.is_some(), OP)
        | when(!envelope.extensions.is_empty(), EXTENSIONS);
    for (bit, value) in (FIRST_OPTIONAL..).zip(optional(envelope)) {
        flags |= when(value.is_some(), 1 << bit);
    }
    flags
}

const JSON: &str = "application/json";
const DEFAULT_TENANT: &str = "default";

fn put_extensions(out: &mut BytesMut, extensions: &Extensions) {
    put_varint(out, extensions.iter().len() as u64);
    for (name, value) in extensions.iter() {
        put_str(out, name);
        match value {
            ExtensionValue::Boolean(truth) => out.put_u8(u8::from(*truth)),
            ExtensionValue::Integer(number) => {
                out.put_u8(2);
                put_varint(out, zigzag(i64::from(*number)));
            }
            ExtensionValue::String(text) => {
                out.put_u8(3);
                put_str(out, text);
            }
        }
    }
}

fn put_str(out: &mut BytesMut, text: &str) {
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

fn put_time(out: &mut BytesMut, at: Timestamp) {
    put_varint(out, zigzag(at.as_second()));
    put_varint(out, zigzag(i64::from(at.subsec_nanosecond())));
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Takes one record off the front of `input`; data is a slice of it.
///
/// # Errors
/// [`WireError`]; `input` is then somewhere inside the record.
pub fn decode(input: &mut Bytes) -> Result<Envelope, WireError> {
    let length = input.try_get_u32_le().map_err(|_| WireError::Truncated)? as usize;
    if length > input.len() {
        return Err(WireError::Truncated);
    }
    let mut record = input.split_to(length);
    let envelope = body(&mut record)?;
    if record.is_empty() {
        Ok(envelope)
    } else {
        Err(WireError::Damaged("bytes are left over"))
    }
}

fn body(record: &mut Bytes) -> Result<Envelope, WireError> {
    let version = take_u8(record)?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let flags = record.try_get_u32_le().map_err(|_| WireError::Truncated)?;
    if flags & !KNOWN != 0 {
        return Err(WireError::Damaged("unknown flags"));
    }
    let has = |flag: u32| flags & flag != 0;
    let (id, source, event_type) = (take_str(record)?, take_str(record)?, take_str(record)?);
    let mut envelope = Envelope::new(id, source, event_type, take_time(record)?, Data::none());
    if !has(RECORDEDTIME_IS_TIME) {
        envelope.recordedtime = take_time(record)?;
    }
    if !has(CORRELATIONID_IS_ID) {
        envelope.correlationid = take_str(record)?;
    }
    envelope.datacontenttype = if has(CONTENT_TYPE_IS_JSON) {
        Str::new_static(JSON)
    } else {
        take_str(record)?
    };
    envelope.tenantid = if has(TENANT_IS_DEFAULT) {
        Str::new_static(DEFAULT_TENANT)
    } else {
        take_str(record)?
    };
    if has(EXPIRYTIME) {
        envelope.expirytime = Some(take_time(record)?);
    }
    if has(HOP) {
        envelope.hop = Some(take_i32(record)?);
    }
    if has(OP) {
        let letter = [take_u8(record)?];
        let op = std::str::from_utf8(&letter).ok().and_then(Op::parse);
        envelope.op = Some(op.ok_or(WireError::Damaged("unknown operation"))?);
    }
    for (bit, field) in (FIRST_OPTIONAL..).zip(optional_mut(&mut envelope)) {
        if has(1 << bit) {
            *field = Some(take_str(record)?);
        }
    }
    if has(EXTENSIONS) {
        envelope.extensions = take_extensions(record)?;
    }
    if has(DATA) {
        let bytes = take_bytes(record)?;
        envelope.data = if has(DATA_IS_KNOWN_JSON) {
            Data::json(bytes)
        } else {
            Data::opaque(bytes)
        };
    }
    Ok(envelope)
}

fn take_extensions(record: &mut Bytes) -> Result<Extensions, WireError> {
    let mut extensions = Extensions::default();
    let mut last: Option<Str> = None;
    for _ in 0..take_varint(record)? {
        let name = take_str(record)?;
        if last.as_ref().is_some_and(|last| *last >= name) {
            return Err(WireError::Damaged("extensions out of order"));
        }
        let value = match take_u8(record)? {
            truth @ (0 | 1) => ExtensionValue::Boolean(truth == 1),
            2 => ExtensionValue::Integer(take_i32(record)?),
            3 => ExtensionValue::String(take_str(record)?),
            _ => return Err(WireError::Damaged("unknown kind of extension")),
        };
        last = Some(name.clone());
        extensions.set(name, value);
    }
    Ok(extensions)
}

fn take_u8(record: &mut Bytes) -> Result<u8, WireError> {
    record.try_get_u8().map_err(|_| WireError::Truncated)
}

fn take_varint(record: &mut Bytes) -> Result<u64, WireError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(record)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(WireError::Damaged("a number is too long"))
}

fn take_i32(record: &mut Bytes) -> Result<i32, WireError> {
    i32::try_from(unzigzag(take_varint(record)?))
        .map_err(|_| WireError::Damaged("a number is too large"))
}

fn take_time(record: &mut Bytes) -> Result<Timestamp, WireError> {
    let seconds = unzigzag(take_varint(record)?);
    let nanos = take_i32(record)?;
    Timestamp::new(seconds, nanos).map_err(|_| WireError::Damaged("an instant is out of range"))
}

fn take_bytes(record: &mut Bytes) -> Result<Bytes, WireError> {
    let length = usize::try_from(take_varint(record)?).map_err(|_| WireError::Truncated)?;
    if length > record.len() {
        return Err(WireError::Truncated);
    }
    Ok(record.split_to(length))
}

fn take_str(record: &mut Bytes) -> Result<Str, WireError> {
    let length = usize::try_from(take_varint(record)?).map_err(|_| WireError::Truncated)?;
    let bytes = record.get(..length).ok_or(WireError::Truncated)?;
    let text =
        std::str::from_utf8(bytes).map_err(|_| WireError::Damaged("a string is not UTF-8"))?;
    let text = Str::new(text);
    record.advance(length);
    Ok(text)
}
