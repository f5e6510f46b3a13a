//! Keys that vendors publish: fetched from their own hosts alone, cached, rotated and bounded.
//!
//! Verification names a place ([`KeyRequest`](crate::verify::KeyRequest)), always on a host that belongs to the vendor or stands
//! in the configuration; this module gets it. State: what was found, and when was asked in vain, for each place.
//!
//! Invariants: https alone, redirects are not followed, an answer is bounded in bytes and time; one fetch at a time and so many a
//! minute for a source, whatever strangers name in their requests; what cannot be fetched leaves a request undecided (503), never
//! refused; keys that were fetched once outlive their vendor's outages.

mod chain;
mod remote;

#[cfg(test)]
mod tests;

pub(super) use remote::Remote;
