//! Beside the stream: heartbeats, figures, and tables that appear.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use headgate_sdk::{Str, status::Status};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Checked,
    control::{Client, Published, SqlError, left_out, missing_tables, published, slot_facts},
    sql::literal,
};

/// How often the publication is compared with what is known.
const DISCOVERY: Duration = Duration::from_secs(15);

/// SQLSTATE `cannot_connect_now`.
const SHUTTING_DOWN: &str = "57P03";

/// How long a server that is shutting down may be kept waiting.
const GRACE: Duration = Duration::from_secs(3);

/// What a watch works on.
pub(crate) struct Watch {
    pub(crate) checked: Arc<Checked>,
    pub(crate) source: Str,
    /// What the names of this group's slots begin with.
    pub(crate) group: String,
    pub(crate) status: Status,
    pub(crate) version: u32,
    pub(crate) standby: bool,
    /// The content of a heartbeat.
    pub(crate) beat: String,
    pub(crate) mark_prefix: String,
    /// Cancelled some time after the server said that it is shutting down.
    pub(crate) leaving: CancellationToken,
    /// Tables of the publication, each time they were asked for.
    pub(crate) tables: mpsc::Sender<Vec<Published>>,
}

impl Watch {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut client = Client::new(self.checked.server.clone());
        let mut marks = match &self.checked.primary {
            Some(primary) => Some(Client::new(primary.clone())),
            None if self.standby => None,
            None => Some(Client::new(self.checked.server.clone())),
        };
        let mut discovery = Instant::now();
        let mut unused = BTreeSet::new();
        loop {
            if let Some(marks) = &mut marks {
                self.beat(marks).await;
            }
            let figures = async {
                self.figures(&mut client).await?;
                self.unused(&mut client, &mut unused).await
            };
            if let Err(error) = figures.await
                && error.code.as_deref() == Some(SHUTTING_DOWN)
            {
                // What is durable by then is confirmed; for the rest the server would wait as long as the sink.
                tokio::time::sleep(GRACE).await;
                self.leaving.cancel();
            }
            if discovery.elapsed() >= DISCOVERY.min(self.checked.config.heartbeat.get()) {
                discovery = Instant::now();
                if self.discover(&mut client).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(self.checked.config.heartbeat.get()).await;
        }
    }

    async fn beat(&self, marks: &mut Client) {
        let sql = format!(
            "SELECT pg_logical_emit_message(false, {}, {})",
            literal(&self.mark_prefix),
            literal(&self.beat)
        );
        match marks.run(&sql).await {
            Ok(()) => self.status.clear("heartbeat"),
            Err(error) => self.status.warn(
                "heartbeat",
                format!("heartbeats cannot be written: {error}; an idle database holds log of busy ones until they can"),
            ),
        }
    }

    async fn figures(&self, client: &mut Client) -> Result<(), SqlError> {
        let Some(slot) = slot_facts(client, &self.checked.slot).await? else {
            return Ok(());
        };
        let labels = [
            ("source", self.source.to_string()),
            ("slot", self.checked.slot.clone()),
        ];
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        let gauge = |name: &'static str, value: i64| {
            metrics::gauge!(name, &labels).set(value as f64);
        };
        gauge("headgate_postgres_slot_lag_bytes", slot.lag);
        gauge("headgate_postgres_slot_retained_bytes", slot.retained);
        if let Some(safe) = slot.safe_wal_size {
            gauge("headgate_postgres_slot_safe_bytes", safe);
        }
        for word in ["reserved", "extended", "unreserved", "lost"] {
            let labels = [
                ("source", self.source.to_string()),
                ("slot", self.checked.slot.clone()),
                ("status", word.to_owned()),
            ];
            metrics::gauge!("headgate_postgres_slot_wal_status", &labels)
                .set(f64::from(u8::from(slot.wal_status == word)));
        }
        if slot.wal_status == "unreserved" {
            self.status.warn(
                "slot",
                format!(
                    "slot {} is about to lose its log: let the source catch up, or raise max_slot_wal_keep_size",
                    self.checked.slot
                ),
            );
        } else {
            self.status.clear("slot");
        }
        if self.version >= 140_000 {
            let spill = client
                .rows(&format!(
                    "SELECT spill_bytes, stream_bytes, total_bytes FROM pg_stat_replication_slots WHERE slot_name = {}",
                    literal(&self.checked.slot)
                ))
                .await;
            if let Ok(rows) = spill
                && let Some(row) = rows.first()
            {
                gauge("headgate_postgres_server_spill_bytes", row.number(0));
                gauge("headgate_postgres_server_stream_bytes", row.number(1));
                gauge("headgate_postgres_server_total_bytes", row.number(2));
            }
        }
        Ok(())
    }

    /// Slots of this group that nobody reads; the log that they hold is never given back. `seen` are those that were, whose figure
    /// goes back to nothing.
    async fn unused(
        &self,
        client: &mut Client,
        seen: &mut BTreeSet<String>,
    ) -> Result<(), SqlError> {
        let rows = client
            .rows(&format!(
                "SELECT slot_name, (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END) \
                 - restart_lsn FROM pg_replication_slots \
                 WHERE starts_with(slot_name, {}) AND slot_name <> {} AND NOT active AND NOT temporary",
                literal(&self.group),
                literal(&self.checked.slot)
            ))
            .await?;
        let retained = |slot: &str, bytes: i64| {
            let labels = [
                ("source", self.source.to_string()),
                ("slot", slot.to_owned()),
            ];
            #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
            metrics::gauge!("headgate_postgres_unused_slot_retained_bytes", &labels)
                .set(bytes as f64);
        };
        let unused: BTreeSet<String> = rows.iter().map(|row| row.text(0).to_owned()).collect();
        for gone in seen.difference(&unused) {
            retained(gone, 0);
        }
        for row in &rows {
            retained(row.text(0), row.number(1));
        }
        *seen = unused;
        Ok(())
    }

    /// Reports the publication, and publishes tables that match and are not in it.
    async fn discover(&self, client: &mut Client) -> Result<(), ()> {
        // Before anything is added to it: a table that was taken out and comes back has changed meanwhile.
        self.report(client).await?;
        if let Ok(Some((missing, sql))) = missing_tables(client, &self.checked, self.version).await
        {
            if missing.is_empty() {
                self.status.clear("tables");
                return Ok(());
            }
            let added = if self.checked.config.setup {
                client.run(&sql).await.map_err(|error| error.to_string())
            } else {
                Err("`setup: false`".to_owned())
            };
            match added {
                Ok(()) => self.report(client).await?,
                Err(why) => self.status.warn(
                    "tables",
                    format!("tables match the configuration and are not published ({why}): {}; run: {sql};", missing.join(", ")),
                ),
            }
        }
        Ok(())
    }

    /// Hands over what the publication has, and warns about what it leaves out.
    async fn report(&self, client: &mut Client) -> Result<(), ()> {
        let publication = &self.checked.publication;
        match published(client, publication, self.version).await {
            Ok(Some(tables)) => {
                match left_out(client, publication).await {
                    Ok(Some((what, sql))) => self.status.warn(
                        "publication",
                        format!("publication {publication} {what}; run: {sql};"),
                    ),
                    Ok(None) => self.status.clear("publication"),
                    Err(_) => {}
                }
                self.tables.send(tables).await.map_err(|_| ())
            }
            Ok(None) => {
                self.status.warn(
                    "publication",
                    format!("publication {publication} does not exist any more, and the next change ends the stream: run `headgate postgres setup`"),
                );
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }
}
