//! The server's own facts: version, settings, role, slots.

use super::{Client, SqlError};
use crate::{lsn::Lsn, sql::literal};

/// What a source must know about a server before it reads from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerFacts {
    /// `server_version_num`: 150008.
    pub(crate) version: u32,
    pub(crate) wal_level: String,
    /// Milliseconds; 0 is never.
    pub(crate) wal_sender_timeout: u64,
    /// Megabytes; -1 is unlimited.
    pub(crate) max_slot_wal_keep_size: i64,
    pub(crate) max_replication_slots: u32,
    pub(crate) used_replication_slots: u32,
    pub(crate) max_wal_senders: u32,
    pub(crate) used_wal_senders: u32,
    pub(crate) is_standby: bool,
    pub(crate) superuser: bool,
    pub(crate) replication: bool,
    /// Whether the role may create objects in the database (a publication).
    pub(crate) may_create: bool,
    pub(crate) encoding: String,
    pub(crate) hot_standby_feedback: bool,
}

impl ServerFacts {
    /// Whether the database keeps whatever bytes it is given as text.
    pub(crate) fn stores_raw_text(&self) -> bool {
        self.encoding == "SQL_ASCII"
    }
}

/// A replication slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SlotFacts {
    pub(crate) plugin: String,
    pub(crate) database: String,
    pub(crate) active_pid: Option<i32>,
    pub(crate) confirmed: Lsn,
    pub(crate) restart: Lsn,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub(crate) wal_status: String,
    /// Bytes that may still be written before the slot is in danger; `None`: no limit.
    pub(crate) safe_wal_size: Option<i64>,
    /// Bytes of log that the slot holds.
    pub(crate) retained: i64,
    /// Bytes of log that are not confirmed.
    pub(crate) lag: i64,
    /// Whether it sends prepared transactions at PREPARE.
    pub(crate) two_phase: bool,
    /// Why it was invalidated, as the server says it (17 and later).
    reason: Option<String>,
}

impl SlotFacts {
    /// Why its log is lost, if it is.
    pub(crate) fn why_lost(&self) -> Option<&'static str> {
        (self.wal_status == "lost").then_some(match self.reason.as_deref() {
            Some("idle_timeout") => "nobody read it for longer than idle_replication_slot_timeout",
            Some("rows_removed") => {
                "rows of the catalogue that it needs were removed (hot_standby_feedback was off)"
            }
            Some("wal_level_insufficient") => "wal_level was lowered on the primary",
            _ => "max_slot_wal_keep_size was exceeded",
        })
    }
}

/// Asks the server who it is and what it allows.
pub(crate) async fn server_facts(client: &mut Client) -> Result<ServerFacts, SqlError> {
    let rows = client
        .rows(
            "SELECT current_setting('server_version_num'), current_setting('wal_level'), \
             (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'), \
             coalesce((SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), '-1'), \
             current_setting('max_replication_slots'), (SELECT count(*) FROM pg_replication_slots), \
             current_setting('max_wal_senders'), (SELECT count(*) FROM pg_stat_replication), \
             pg_is_in_recovery(), r.rolsuper, r.rolreplication, \
             has_database_privilege(current_database(), 'CREATE'), current_setting('server_encoding'), \
             current_setting('hot_standby_feedback') \
             FROM pg_roles r WHERE r.rolname = current_user",
        )
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| SqlError::own("the server did not say who it is"))?;
    Ok(ServerFacts {
        version: row.number(0),
        wal_level: row.text(1).to_owned(),
        wal_sender_timeout: row.number(2),
        max_slot_wal_keep_size: row.number(3),
        max_replication_slots: row.number(4),
        used_replication_slots: row.number(5),
        max_wal_senders: row.number(6),
        used_wal_senders: row.number(7),
        is_standby: row.is_true(8),
        superuser: row.is_true(9),
        replication: row.is_true(10),
        may_create: row.is_true(11),
        encoding: row.text(12).to_owned(),
        hot_standby_feedback: row.is_true(13),
    })
}

/// Asks for one slot; `None` if there is none.
pub(crate) async fn slot_facts(
    client: &mut Client,
    slot: &str,
) -> Result<Option<SlotFacts>, SqlError> {
    let rows = client
        .rows(&format!(
            "SELECT plugin, database, active_pid, confirmed_flush_lsn, restart_lsn, wal_status, safe_wal_size, \
             l.lsn - restart_lsn, l.lsn - confirmed_flush_lsn, to_jsonb(s) ->> 'two_phase', to_jsonb(s) ->> 'invalidation_reason' \
             FROM pg_replication_slots s, LATERAL (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
             ELSE pg_current_wal_lsn() END AS lsn) l WHERE slot_name = {}",
            literal(slot)
        ))
        .await?;
    let lsn = |text: &str| text.parse().unwrap_or(Lsn::ZERO);
    Ok(rows.first().map(|row| SlotFacts {
        plugin: row.text(0).to_owned(),
        database: row.text(1).to_owned(),
        active_pid: row.get(2).and_then(|pid| pid.parse().ok()),
        confirmed: lsn(row.text(3)),
        restart: lsn(row.text(4)),
        wal_status: row.text(5).to_owned(),
        safe_wal_size: row.get(6).and_then(|bytes| bytes.parse().ok()),
        retained: row.number(7),
        lag: row.number(8),
        // Older servers have no such columns.
        two_phase: row.is_true(9),
        reason: row.get(10).map(str::to_owned),
    }))
}
