//! TLS for both connections: one rustls configuration, and the channel binding of SCRAM.
//!
//! The modes are libpq's: `disable`, `prefer` and `require` (encrypt, believe anybody), `verify-ca`, `verify-full`. A
//! configured certificate authority turns `require` into `verify-ca`, as in libpq.
//!
//! Source: RFC 5929 section 4 (`tls-server-end-point`), PostgreSQL manual "SSL Support".

mod binding;
mod setup;
mod stream;
mod verify;

pub(crate) use setup::{Tls, TlsError, TlsMode};
