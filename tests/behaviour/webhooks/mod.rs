//! Webhooks against a whole gateway.

mod clients;
mod crowding;
mod door;
mod handshakes;
mod repetitions;
mod signing;
