//! The connectors this gateway knows: [`registry`] is the one list.
//!
//! Adding a connector is a folder under `connectors/`, a line in `Cargo.toml` and a line here.

mod registration;

pub use registration::{AnySource, Build, Registration, RunCommand};

/// All connectors, in the order in which the reference lists them.
pub fn registry() -> &'static [Registration] {
    static REGISTRY: &[Registration] = &[
        Registration::of::<headgate_files::Files>(),
        Registration::of::<headgate_mongodb::Mongodb>(),
        Registration::of::<headgate_postgres::Postgres>(),
        Registration::of::<headgate_webhook::Webhook>(),
    ];
    REGISTRY
}
