//! What mends an error, for people.

/// The message with what mends it, by its SQLSTATE (`None`: the connection failed).
pub(crate) fn with_remedy(code: Option<&str>, message: &str) -> String {
    let remedy = match code {
        Some("28P01" | "28000") if message.contains("password") => {
            "the password in `url` is wrong, or the role has none"
        }
        Some("28000") if message.contains("does not exist") => {
            "the role in `url` does not exist: CREATE ROLE … LOGIN REPLICATION PASSWORD '…';"
        }
        Some("28000") if message.contains("not permitted to log in") => {
            "the role may not log in: ALTER ROLE … LOGIN;"
        }
        Some("28000") => {
            "pg_hba.conf has no line that lets this role in from here (logical replication needs one for the database, not for \
             `replication`)"
        }
        Some("3D000") => "the database in `url` does not exist",
        Some("42501") => {
            "a privilege is missing: `headgate postgres check` prints the SQL (ALTER ROLE … REPLICATION; GRANT SELECT ON …)"
        }
        Some("42704") if message.contains("publication") => {
            "the publication is gone: create it again with `headgate postgres setup`, drop the slot with `SELECT \
             pg_drop_replication_slot(…)` if the error stays (it decodes with the catalogue of that time), and take a new snapshot"
        }
        Some("57P03") => "the server is starting or shutting down: try again in a moment",
        Some("53300") if message.contains("max_wal_senders") => {
            "all WAL senders are in use: ALTER SYSTEM SET max_wal_senders = …; then restart the server"
        }
        Some("53300") => {
            "all connections are in use: ALTER SYSTEM SET max_connections = …; then restart the server, or reserve some for this role"
        }
        Some("53400") => {
            "all replication slots are in use: drop one that nobody reads (pg_replication_slots), or ALTER SYSTEM SET \
             max_replication_slots = …; then restart the server"
        }
        None if message.contains("onnect") || message.contains("timeout") => {
            "is the server there, and does it listen at that address (listen_addresses, firewall)?"
        }
        None => "look at `sslmode`, `channel_binding`, `ca` and the password in `url`",
        _ => "`headgate postgres check` says what is missing",
    };
    format!("{message}: {remedy}")
}
