//! From nothing to a slot that can be streamed from the right place.

use std::{sync::Arc, time::Duration};

use headgate_sdk::{
    Batch, Delivery, Entry, Lane, SourceError,
    status::{State, Status},
};

use super::{
    End,
    recreate::{self, Place},
};
use crate::{
    config::{Checked, SnapshotMode},
    control::{Client, ServerFacts, published, server_facts, setup_plan, slot_facts},
    event::Identity,
    lsn::Lsn,
    position::{StreamPosition, Timelines},
    replication::Connection,
    snapshot::{Progress, known_entry},
};

/// A server that is ready, and where to go on.
pub(crate) struct Opened {
    pub(crate) facts: ServerFacts,
    pub(crate) identity: Identity,
    pub(crate) resume: StreamPosition,
    pub(crate) connection: Connection,
    /// On a first start, the entries that were sent ahead and may not be stored yet.
    pub(crate) ahead: Vec<Entry>,
}

/// Checks the server, creates what is missing and may be created, and decides where to resume.
pub(crate) async fn open(
    checked: &Arc<Checked>,
    lane: &Lane,
    stored: Option<StreamPosition>,
    lost: Option<String>,
    status: &Status,
) -> Result<Opened, End> {
    let mut client = Client::new(checked.server.clone());
    let facts = server_facts(&mut client).await?;
    if facts.wal_level != "logical" {
        return Err(fatal(format!(
            "wal_level is {}: run ALTER SYSTEM SET wal_level = logical; and restart the server",
            facts.wal_level
        )));
    }
    if !facts.replication && !facts.superuser {
        return Err(fatal(format!(
            "role {} may not replicate: run ALTER ROLE {} REPLICATION;",
            checked.server.user(),
            crate::sql::identifier(checked.server.user())
        )));
    }
    let mut connection = Connection::open(&checked.server, facts.stores_raw_text()).await?;
    let system = connection.identify().await?;
    let history = connection.history(system.timeline).await?;
    let identity = Identity {
        system: system.system,
        timelines: Timelines::new(history, system.timeline),
    };
    if let Some(position) = &stored {
        same_history(position, &identity)?;
    }
    ensure_publication(&mut client, checked, &facts).await?;
    let begun = match &stored {
        Some(_) => recreate::begun(lane).await?,
        None => None,
    };
    let lost = begun.as_ref().map(|begun| begun.why.clone()).or(lost);
    let mut ahead = Vec::new();
    let resume = match (
        ready_slot(&mut client, checked, status).await?,
        stored,
        lost,
    ) {
        (Slot::Ready { confirmed }, Some(position), None) => {
            if confirmed > position.confirm {
                return Err(fatal(format!(
                    "slot {} is confirmed up to {confirmed}, ahead of the stored position {}: somebody else has used it, and what lies \
                     between is gone from it; take a new snapshot after `headgate postgres drop`, or store a position with \
                     `headgate checkpoints set`",
                    checked.slot, position.confirm
                )));
            }
            position
        }
        (Slot::Ready { confirmed }, None, None) => {
            let (position, entries) = first_position(
                &mut client,
                checked,
                &facts,
                &identity,
                confirmed,
                "initial",
            )
            .await?;
            ahead.clone_from(&entries);
            drop(send(lane, &position, entries).await?);
            position
        }
        (Slot::Missing, None, _) => {
            if !checked.config.setup {
                return Err(fatal(format!(
                    "slot {} does not exist: run `headgate postgres setup`, or SELECT pg_create_logical_replication_slot('{}', \
                     'pgoutput');",
                    checked.slot, checked.slot
                )));
            }
            let consistent = create_slot(&mut connection, checked, &facts).await?;
            let (position, entries) = first_position(
                &mut client,
                checked,
                &facts,
                &identity,
                consistent,
                "initial",
            )
            .await?;
            ahead.clone_from(&entries);
            drop(send(lane, &position, entries).await?);
            position
        }
        (slot, Some(position), lost) => {
            let why = lost.unwrap_or_else(|| match &slot {
                Slot::Lost(why) => why.clone(),
                _ => format!("slot {} does not exist any more", checked.slot),
            });
            let place = Place {
                checked,
                lane,
                facts: &facts,
                identity: &identity,
            };
            recreate::recreate(
                &place,
                &mut client,
                &mut connection,
                &slot,
                &position,
                &why,
                begun,
            )
            .await?
        }
        (Slot::Lost(why), None, _) | (Slot::Ready { .. }, None, Some(why)) => {
            return Err(fatal(format!(
                "{why}: drop the slot with SELECT pg_drop_replication_slot('{}'); and start again",
                checked.slot
            )));
        }
    };
    Ok(Opened {
        facts,
        identity,
        resume,
        connection,
        ahead,
    })
}

fn same_history(position: &StreamPosition, identity: &Identity) -> Result<(), End> {
    if position.system != identity.system {
        return Err(fatal(format!(
            "this is another cluster: its system identifier is {}, the stored position belongs to {}; point `url` to the right server, \
             or forget the position with `headgate checkpoints set`",
            identity.system, position.system
        )));
    }
    if !identity.timelines.contain(position.timeline, position.lsn) {
        return Err(fatal(format!(
            "the server is on timeline {} and does not have {} of timeline {}: it was promoted or restored from before that place; take a \
             new snapshot after `headgate postgres drop`",
            identity.timelines.now(),
            position.lsn,
            position.timeline
        )));
    }
    Ok(())
}

async fn ensure_publication(
    client: &mut Client,
    checked: &Checked,
    facts: &ServerFacts,
) -> Result<(), End> {
    if published(client, &checked.publication, facts.version)
        .await?
        .is_some()
    {
        return Ok(());
    }
    let plan = setup_plan(client, checked, facts).await?;
    let statements: Vec<&String> = plan
        .statements
        .iter()
        .filter(|sql| sql.starts_with("CREATE PUBLICATION"))
        .collect();
    let run = statements.first().map_or("", |sql| sql.as_str());
    if !checked.config.setup {
        return Err(fatal(format!(
            "publication {} does not exist: run `headgate postgres setup`, or {run};",
            checked.publication
        )));
    }
    client.run(run).await.map_err(|error| {
        fatal(format!(
            "publication {} does not exist and cannot be created ({error}): as the owner of the tables run {run};",
            checked.publication
        ))
    })
}

pub(super) enum Slot {
    Ready { confirmed: Lsn },
    Missing,
    Lost(String),
}

/// Waits until nobody else uses the slot.
async fn ready_slot(client: &mut Client, checked: &Checked, status: &Status) -> Result<Slot, End> {
    let mut pause = Duration::from_millis(100);
    loop {
        let Some(slot) = slot_facts(client, &checked.slot).await? else {
            return Ok(Slot::Missing);
        };
        if slot.plugin != "pgoutput" || slot.database != checked.server.database() {
            return Err(fatal(format!(
                "slot {} belongs to plugin {} and database {}: name another one in `slot`",
                checked.slot, slot.plugin, slot.database
            )));
        }
        if slot.two_phase {
            return Err(two_phase(&checked.slot));
        }
        if let Some(why) = slot.why_lost() {
            return Ok(Slot::Lost(format!(
                "slot {} has lost its log: {why}",
                checked.slot
            )));
        }
        let Some(pid) = slot.active_pid else {
            return Ok(Slot::Ready {
                confirmed: slot.confirmed,
            });
        };
        status.set(State::Waiting(format!(
            "slot {} is active for process {pid} of the server; if that is no other Headgate, run SELECT pg_terminate_backend({pid});",
            checked.slot
        )));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

pub(super) async fn create_slot(
    connection: &mut Connection,
    checked: &Checked,
    facts: &ServerFacts,
) -> Result<Lsn, End> {
    let failover = checked.config.failover && facts.version >= 170_000;
    let created = connection
        .create_slot(&checked.slot, false, false, failover)
        .await?;
    Ok(created.consistent_point)
}

/// The first position, and the entries of what is to be read.
pub(super) async fn first_position(
    client: &mut Client,
    checked: &Checked,
    facts: &ServerFacts,
    identity: &Identity,
    from: Lsn,
    snapshot: &str,
) -> Result<(StreamPosition, Vec<Entry>), End> {
    let position = StreamPosition {
        system: identity.system.clone(),
        timeline: identity.timelines.of(Lsn(from.0.saturating_sub(1))),
        lsn: from,
        ordinal: 0,
        confirm: from,
    };
    let tables = published(client, &checked.publication, facts.version)
        .await?
        .unwrap_or_default();
    let mut entries: Vec<Entry> = Vec::new();
    for table in tables
        .into_iter()
        .filter(|table| checked.captures(&table.subject))
    {
        if snapshot == "initial" && checked.config.snapshot.mode == SnapshotMode::OnDemand {
            entries.push(known_entry(&table.subject));
        } else {
            entries.push(Progress::new(snapshot, &table.subject, table.oid, None).entry());
        }
    }
    Ok((position, entries))
}

pub(super) async fn send(
    lane: &Lane,
    position: &StreamPosition,
    entries: Vec<Entry>,
) -> Result<Delivery, End> {
    let batch = Batch {
        position: Some(position.encode()),
        entries,
        ..Batch::default()
    };
    let permit = lane.reserve(batch.weight()).await?;
    Ok(permit.send(batch))
}

/// A slot that loses rows: it sends a prepared transaction once, and its commit without them.
pub(super) fn two_phase(slot: &str) -> End {
    fatal(format!(
        "slot {slot} was created with two_phase, which loses rows in a crash: run SELECT pg_drop_replication_slot('{slot}'); and \
         `headgate postgres setup`"
    ))
}

pub(super) fn fatal(message: String) -> End {
    End::Source(SourceError::fatal(message))
}
