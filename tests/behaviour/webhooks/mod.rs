//! Webhooks against a whole gateway.

mod clients;
mod repetitions;
