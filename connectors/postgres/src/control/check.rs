//! What is missing for a source to work, and the SQL that mends it.

use super::{
    Client, ServerFacts, SqlError, catalog, describe, published, server_facts, setup, slot_facts,
};
use crate::{
    config::{Checked, SnapshotMode, covers, group_prefix},
    pgoutput::Identity,
    replication::TlsMode,
    sql::{identifier, literal},
};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    Fine,
    /// It works, at a price that is stated.
    Warning,
    /// It does not work.
    Wrong,
}

/// One answer of `headgate postgres check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    pub(crate) text: String,
    /// SQL or configuration that mends it.
    pub(crate) remedy: Vec<String>,
}

fn fine(text: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Fine,
        text: text.into(),
        remedy: Vec::new(),
    }
}

fn warning(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Warning,
        text: text.into(),
        remedy: vec![remedy.into()],
    }
}

fn wrong(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Wrong,
        text: text.into(),
        remedy: vec![remedy.into()],
    }
}

/// Checks everything. `ours` are the slots that sources of the configuration use.
pub(crate) async fn check(
    client: &mut Client,
    checked: &Checked,
    group: &str,
    ours: &[String],
) -> Result<Vec<Finding>, SqlError> {
    let facts = server_facts(client).await?;
    let mut findings = vec![fine(format!(
        "PostgreSQL {}.{} at {}, database {}, role {}",
        facts.version / 10_000,
        facts.version % 10_000,
        checked.server.address(),
        checked.server.database(),
        checked.server.user()
    ))];
    server(checked, &facts, &mut findings);
    slot(client, checked, &facts, &mut findings).await?;
    publication(client, checked, &facts, &mut findings).await?;
    unused(client, checked, group, ours, &mut findings).await?;
    Ok(findings)
}

fn server(checked: &Checked, facts: &ServerFacts, findings: &mut Vec<Finding>) {
    if facts.wal_level == "logical" {
        findings.push(fine("wal_level is logical"));
    } else {
        findings.push(wrong(
            format!(
                "wal_level is {}, and logical decoding needs logical",
                facts.wal_level
            ),
            "ALTER SYSTEM SET wal_level = logical;  -- then restart the server",
        ));
    }
    if facts.replication || facts.superuser {
        findings.push(fine("the role may replicate"));
    } else {
        findings.push(wrong(
            format!("role {} may not replicate", checked.server.user()),
            format!(
                "ALTER ROLE {} REPLICATION;",
                identifier(checked.server.user())
            ),
        ));
    }
    if facts.superuser {
        findings.push(warning(
            format!("role {} is a superuser; it needs REPLICATION, SELECT on the tables and ownership of the publication only", checked.server.user()),
            "CREATE ROLE headgate LOGIN REPLICATION PASSWORD '…';",
        ));
    }
    let left = |max: u32, used: u32| max.saturating_sub(used);
    let slots = left(facts.max_replication_slots, facts.used_replication_slots);
    if slots == 0 {
        findings.push(warning(
            format!(
                "all {} replication slots are in use",
                facts.max_replication_slots
            ),
            format!(
                "ALTER SYSTEM SET max_replication_slots = {};  -- then restart the server",
                facts.max_replication_slots + 10
            ),
        ));
    } else {
        findings.push(fine(format!("{slots} replication slots are left")));
    }
    let senders = left(facts.max_wal_senders, facts.used_wal_senders);
    if senders == 0 {
        findings.push(warning(
            format!("all {} WAL senders are in use", facts.max_wal_senders),
            format!(
                "ALTER SYSTEM SET max_wal_senders = {};  -- then restart the server",
                facts.max_wal_senders + 10
            ),
        ));
    } else {
        findings.push(fine(format!("{senders} WAL senders are left")));
    }
    if facts.max_slot_wal_keep_size < 0 {
        findings.push(warning(
            "max_slot_wal_keep_size is unlimited: a source that is down for long fills the server's disk with log",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();  -- less than the free disk",
        ));
    } else {
        findings.push(fine(format!(
            "max_slot_wal_keep_size is {} MB",
            facts.max_slot_wal_keep_size
        )));
    }
    if facts.wal_sender_timeout > 0 && facts.wal_sender_timeout < 5_000 {
        findings.push(warning(
            format!(
                "wal_sender_timeout is {} ms, shorter than the network's hiccups",
                facts.wal_sender_timeout
            ),
            "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
        ));
    }
    if facts.version < 140_000 && checked.config.streaming {
        findings.push(warning(
            "the server is older than 14: large transactions arrive only after they committed, and spill on its disk",
            "upgrade to PostgreSQL 14 or later",
        ));
    }
    if facts.encoding == "SQL_ASCII" {
        findings.push(warning(
            "the database's encoding is SQL_ASCII: rows that are not UTF-8 become dead letters",
            "pg_dump -E, then CREATE DATABASE … ENCODING 'UTF8'",
        ));
    }
    if checked.config.failover && facts.version < 170_000 {
        findings.push(warning(
            "failover slots exist since PostgreSQL 17: after a failover the slot is gone and a new snapshot is needed",
            "failover: false",
        ));
    }
    if facts.is_standby {
        if facts.version < 160_000 {
            findings.push(wrong(
                "this is a standby, and decoding on a standby exists since PostgreSQL 16",
                "url: the primary's",
            ));
        }
        if checked.primary.is_none() {
            findings.push(warning(
                "this is a standby: heartbeats and the watermarks of snapshots cannot be written here, so an idle database holds \
                 log and tables are not read",
                "primary_url: postgres://…  -- where they are written instead",
            ));
        }
        if !facts.hot_standby_feedback {
            findings.push(warning(
                "hot_standby_feedback is off on this standby: the primary may remove catalogue rows that the slot needs, which loses it",
                "ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf();",
            ));
        }
    }
    if matches!(checked.server.mode, TlsMode::Prefer | TlsMode::Require)
        && !checked.server.is_local()
    {
        findings.push(warning(
            "the server's certificate is not checked: whoever answers at that address is believed",
            "url: …?sslmode=verify-full, with `ca:` if its authority is your own",
        ));
    }
}

async fn slot(
    client: &mut Client,
    checked: &Checked,
    facts: &ServerFacts,
    findings: &mut Vec<Finding>,
) -> Result<(), SqlError> {
    let Some(slot) = slot_facts(client, &checked.slot).await? else {
        let sql = format!("{};", setup::create_slot(checked, facts));
        findings.push(if checked.config.setup {
            warning(
                format!(
                    "slot {} does not exist; the first start creates it",
                    checked.slot
                ),
                sql,
            )
        } else {
            wrong(format!("slot {} does not exist", checked.slot), sql)
        });
        return Ok(());
    };
    if slot.plugin != "pgoutput" || slot.database != checked.server.database() {
        findings.push(wrong(
            format!(
                "slot {} belongs to plugin {} and database {}",
                checked.slot, slot.plugin, slot.database
            ),
            "slot: another name",
        ));
        return Ok(());
    }
    if slot.two_phase {
        findings.push(wrong(
            format!("slot {} was created with two_phase, which loses the rows of prepared transactions in a crash", checked.slot),
            format!("SELECT pg_drop_replication_slot({});  -- then `headgate postgres setup`", literal(&checked.slot)),
        ));
        return Ok(());
    }
    if let Some(why) = slot.why_lost() {
        findings.push(wrong(
            format!("slot {} has lost its log: {why}", checked.slot),
            format!(
                "SELECT pg_drop_replication_slot({});  -- then `on_lost_slot: snapshot`, or `headgate sources snapshot`",
                literal(&checked.slot)
            ),
        ));
        return Ok(());
    }
    findings.push(fine(format!(
        "slot {} is {}, holds {} bytes of log, confirmed up to {}{}",
        checked.slot,
        slot.wal_status,
        slot.retained,
        slot.confirmed,
        slot.active_pid
            .map(|pid| format!(", in use by process {pid}"))
            .unwrap_or_default()
    )));
    Ok(())
}

async fn publication(
    client: &mut Client,
    checked: &Checked,
    facts: &ServerFacts,
    findings: &mut Vec<Finding>,
) -> Result<(), SqlError> {
    let candidates = setup::matching(client, checked).await?;
    for pattern in &checked.config.tables {
        let alone = std::slice::from_ref(pattern);
        if !candidates.iter().any(|c| covers(alone, &c.subject())) {
            findings.push(warning(
                format!("`{pattern}` in `tables` matches no table of the database"),
                "tables: …  -- `schema.table` as \\d shows it; letters count",
            ));
        }
    }
    let Some(tables) = published(client, &checked.publication, facts.version).await? else {
        let plan = setup::setup_plan(client, checked, facts).await?;
        let mut finding = if checked.config.setup && (facts.may_create || facts.superuser) {
            warning(
                format!(
                    "publication {} does not exist; the first start creates it",
                    checked.publication
                ),
                "",
            )
        } else {
            wrong(
                format!("publication {} does not exist", checked.publication),
                "",
            )
        };
        finding.remedy = plan
            .statements
            .into_iter()
            .filter(|sql| sql.contains("PUBLICATION"))
            .map(|sql| {
                format!("{sql};  -- as the owner of the tables, with CREATE on the database")
            })
            .collect();
        findings.push(finding);
        // What is missing on the tables is told at once, not after the publication is there.
        for table in candidates {
            if let Some(info) = describe(client, table.oid).await? {
                table_findings(client, checked, &info, findings).await?;
            }
        }
        return Ok(());
    };
    if tables.is_empty() {
        findings.push(warning(
            format!("publication {} has no tables", checked.publication),
            format!(
                "ALTER PUBLICATION {} ADD TABLE …;",
                identifier(&checked.publication)
            ),
        ));
    } else {
        findings.push(fine(format!(
            "publication {} has {} tables",
            checked.publication,
            tables.len()
        )));
    }
    if let Some((left_out, sql)) = catalog::left_out(client, &checked.publication).await? {
        findings.push(warning(
            format!("publication {} {left_out}", checked.publication),
            format!("{sql};"),
        ));
    }
    if let Some((missing, sql)) = setup::missing_tables(client, checked, facts.version).await?
        && !missing.is_empty()
    {
        findings.push(warning(
            format!(
                "tables that match the configuration are not published: {}",
                missing.join(", ")
            ),
            format!("{sql};"),
        ));
    }
    for table in &tables {
        let Some(info) = describe(client, table.oid).await? else {
            continue;
        };
        table_findings(client, checked, &info, findings).await?;
    }
    Ok(())
}

async fn table_findings(
    client: &mut Client,
    checked: &Checked,
    info: &catalog::TableInfo,
    findings: &mut Vec<Finding>,
) -> Result<(), SqlError> {
    let subject = info.subject();
    let quoted = info.quoted();
    if info.identity == Identity::Nothing
        || (info.identity != Identity::Full && info.identity_key.is_empty())
    {
        findings.push(wrong(
            format!(
                "table {subject} has no replica identity (REPLICA IDENTITY {}, {} primary key): the server refuses its updates and \
                 deletes as long as it is published",
                info.identity.word().to_uppercase(),
                match (info.primary_key.is_empty(), info.identity) {
                    (true, _) => "no",
                    (false, Identity::Default) => "a deferrable",
                    (false, _) => "a",
                }
            ),
            if info.identity == Identity::Default && !info.primary_key.is_empty() {
                format!("ALTER TABLE {quoted} REPLICA IDENTITY FULL;  -- or make its primary key NOT DEFERRABLE")
            } else if info.primary_key.is_empty() {
                format!("ALTER TABLE {quoted} ADD PRIMARY KEY (…);  -- or: ALTER TABLE {quoted} REPLICA IDENTITY FULL;")
            } else {
                format!("ALTER TABLE {quoted} REPLICA IDENTITY DEFAULT;")
            },
        ));
    }
    if info.key().is_empty() && checked.config.snapshot.mode == SnapshotMode::Initial {
        findings.push(warning(
            format!(
                "table {subject} has no key: it is read in one piece, from the beginning after a crash, and the stream waits meanwhile; \
                 its events have no partition key"
            ),
            format!("ALTER TABLE {quoted} ADD PRIMARY KEY (…);"),
        ));
    }
    if checked.config.snapshot.mode == SnapshotMode::Initial {
        let may = client
            .rows(&format!("SELECT has_table_privilege({}, 'SELECT') OR has_any_column_privilege({}, 'SELECT'), \
                            has_schema_privilege({}, 'USAGE')", info.oid, info.oid, literal(&info.schema)))
            .await?;
        if !may
            .first()
            .is_some_and(|row| row.is_true(0) && row.is_true(1))
        {
            findings.push(wrong(
                format!(
                    "role {} may not read table {subject}, which a snapshot does",
                    checked.server.user()
                ),
                format!(
                    "GRANT USAGE ON SCHEMA {} TO {user}; GRANT SELECT ON {quoted} TO {user};",
                    identifier(&info.schema),
                    user = identifier(checked.server.user())
                ),
            ));
        }
    }
    Ok(())
}

/// Slots of this group that no source uses hold log for nobody.
async fn unused(
    client: &mut Client,
    checked: &Checked,
    group: &str,
    ours: &[String],
    findings: &mut Vec<Finding>,
) -> Result<(), SqlError> {
    let rows = client
        .rows(&format!(
            "SELECT slot_name, coalesce(pg_size_pretty((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
             ELSE pg_current_wal_lsn() END) - restart_lsn), 'nothing') FROM pg_replication_slots \
             WHERE starts_with(slot_name, {}) AND NOT active AND NOT temporary",
            literal(&group_prefix(group))
        ))
        .await?;
    for row in rows {
        let slot = row.text(0);
        if slot != checked.slot && !ours.iter().any(|used| used == slot) {
            findings.push(warning(
                format!(
                    "slot {slot} belongs to this group, no source uses it, and it holds {} of log",
                    row.text(1)
                ),
                format!("SELECT pg_drop_replication_slot({});", literal(slot)),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use headgate_sdk::SourceInfo;

    use super::*;

    /// What is said about a server with these facts, beyond what is fine.
    fn said(config: serde_json::Value, facts: &ServerFacts) -> String {
        let info = SourceInfo {
            name: "crm".into(),
            tenant: "default".into(),
            urn: "urn:headgate:default:postgres:crm".into(),
            group: "headgate".into(),
            instance: "i".into(),
            public_url: None,
        };
        let checked = Checked::new(serde_json::from_value(config).unwrap(), &info).unwrap();
        let mut findings = Vec::new();
        server(&checked, facts, &mut findings);
        findings.retain(|finding| finding.weight != Weight::Fine);
        crate::command::render("crm", &findings)
    }

    #[test]
    fn everything_about_a_server_is_said_with_what_mends_it() {
        let good = ServerFacts {
            version: 180_001,
            wal_level: "logical".into(),
            wal_sender_timeout: 60_000,
            max_slot_wal_keep_size: 50_000,
            max_replication_slots: 10,
            used_replication_slots: 9,
            max_wal_senders: 10,
            used_wal_senders: 9,
            replication: true,
            encoding: "UTF8".into(),
            ..ServerFacts::default()
        };
        let config = serde_json::json!({ "url": "postgres://headgate:p@127.0.0.1/crm", "tables": ["public.*"], "failover": true });
        assert_eq!(said(config.clone(), &good), "crm\n");
        let bad = ServerFacts {
            version: 130_010,
            wal_level: "replica".into(),
            wal_sender_timeout: 1_000,
            max_slot_wal_keep_size: -1,
            used_replication_slots: 10,
            used_wal_senders: 10,
            is_standby: true,
            replication: false,
            encoding: "SQL_ASCII".into(),
            ..good.clone()
        };
        let far = serde_json::json!({ "url": "postgres://headgate:p@db.example/crm", "tables": ["public.*"], "failover": true });
        insta::assert_snapshot!(said(far, &bad));
        let superuser = ServerFacts {
            superuser: true,
            ..good
        };
        let said = said(config, &superuser);
        assert!(
            said.contains("is a superuser; it needs REPLICATION"),
            "{said}"
        );
    }
}
