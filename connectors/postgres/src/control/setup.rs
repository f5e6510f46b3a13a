//! What must exist on the server, and the SQL that makes or removes it.

use super::{Client, ServerFacts, SqlError, catalog, slot_facts};
use crate::{
    config::Checked,
    event::DDL_PREFIX,
    sql::{identifier, literal, qualified},
};

/// Statements, in the order in which they are to be run, each with why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) statements: Vec<String>,
}

impl Plan {
    /// Runs it; `done` hears of each statement after it.
    ///
    /// # Errors
    /// The statement that failed, and why.
    pub(crate) async fn run(
        &self,
        client: &mut Client,
        mut done: impl FnMut(&str),
    ) -> Result<(), (String, SqlError)> {
        for statement in &self.statements {
            client
                .run(statement)
                .await
                .map_err(|error| (statement.clone(), error))?;
            done(statement);
        }
        Ok(())
    }
}

/// A table that matches the configured patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) oid: u32,
    schema: String,
    name: String,
}

impl Candidate {
    pub(crate) fn subject(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// The tables that the configuration names. Partitions are left out where their root is captured.
pub(crate) async fn matching(
    client: &mut Client,
    checked: &Checked,
) -> Result<Vec<Candidate>, SqlError> {
    let rows = client
        .rows(
            "SELECT c.oid, n.nspname, c.relname, (SELECT pn.nspname || '.' || p.relname FROM pg_partition_ancestors(c.oid) a \
             JOIN pg_class p ON p.oid = a.relid JOIN pg_namespace pn ON pn.oid = p.relnamespace \
             WHERE p.relkind = 'p' AND p.oid <> c.oid AND NOT p.relispartition LIMIT 1) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' \
             AND n.nspname !~ '^pg_' ORDER BY 2, 3",
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let candidate = Candidate {
                oid: row.number(0),
                schema: row.text(1).to_owned(),
                name: row.text(2).to_owned(),
            };
            (candidate, row.get(3).map(str::to_owned))
        })
        .filter(|(candidate, root)| {
            checked.captures(&candidate.subject())
                && !root.as_deref().is_some_and(|root| checked.captures(root))
        })
        .map(|(candidate, _)| candidate)
        .collect())
}

/// Tables that match the patterns and are not published yet, with the statement that publishes them; `None` without a publication.
pub(crate) async fn missing_tables(
    client: &mut Client,
    checked: &Checked,
    version: u32,
) -> Result<Option<(Vec<String>, String)>, SqlError> {
    let Some(published) = catalog::published(client, &checked.publication, version).await? else {
        return Ok(None);
    };
    let missing: Vec<Candidate> = matching(client, checked)
        .await?
        .into_iter()
        .filter(|candidate| !published.iter().any(|p| p.subject == candidate.subject()))
        .collect();
    let statement = format!(
        "ALTER PUBLICATION {} ADD TABLE {}",
        identifier(&checked.publication),
        table_list(checked, &missing)
    );
    Ok(Some((
        missing.iter().map(Candidate::subject).collect(),
        statement,
    )))
}

/// What is missing on the server.
pub(crate) async fn setup_plan(
    client: &mut Client,
    checked: &Checked,
    facts: &ServerFacts,
) -> Result<Plan, SqlError> {
    let mut plan = Plan::default();
    match missing_tables(client, checked, facts.version).await? {
        None => {
            let tables = matching(client, checked).await?;
            plan.statements
                .push(create_publication(checked, facts, &tables));
        }
        Some((missing, statement)) if !missing.is_empty() => plan.statements.push(statement),
        Some(_) => {}
    }
    if slot_facts(client, &checked.slot).await?.is_none() {
        plan.statements.push(create_slot(checked, facts));
    }
    if checked.config.ddl && !has_ddl_trigger(client, checked).await? {
        plan.statements.extend(ddl_trigger(checked));
    }
    Ok(plan)
}

/// What `setup` made and exists still.
pub(crate) async fn drop_plan(client: &mut Client, checked: &Checked) -> Result<Plan, SqlError> {
    let mut plan = Plan::default();
    if slot_facts(client, &checked.slot).await?.is_some() {
        plan.statements.push(format!(
            "SELECT pg_drop_replication_slot({})",
            literal(&checked.slot)
        ));
    }
    let publication = client
        .rows(&format!(
            "SELECT 1 FROM pg_publication WHERE pubname = {}",
            literal(&checked.publication)
        ))
        .await?;
    if !publication.is_empty() {
        plan.statements.push(format!(
            "DROP PUBLICATION {}",
            identifier(&checked.publication)
        ));
    }
    if has_ddl_trigger(client, checked).await? {
        let name = trigger_name(checked);
        plan.statements
            .push(format!("DROP EVENT TRIGGER {}", identifier(&name)));
        plan.statements
            .push(format!("DROP FUNCTION {}()", qualified("public", &name)));
    }
    Ok(plan)
}

fn create_publication(checked: &Checked, facts: &ServerFacts, tables: &[Candidate]) -> String {
    let mut options =
        "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"
            .to_owned();
    if facts.version >= 180_000 {
        options.push_str(", publish_generated_columns = stored");
    }
    let list = if tables.is_empty() {
        String::new()
    } else {
        format!(" FOR TABLE {}", table_list(checked, tables))
    };
    format!(
        "CREATE PUBLICATION {}{list} WITH ({options})",
        identifier(&checked.publication)
    )
}

fn table_list(checked: &Checked, tables: &[Candidate]) -> String {
    let tables: Vec<String> = tables
        .iter()
        .map(|table| {
            let mut text = qualified(&table.schema, &table.name);
            if let Some(options) = checked.options(&table.subject()) {
                if !options.columns.is_empty() {
                    text.push_str(&format!(" ({})", catalog::column_list(&options.columns)));
                }
                if let Some(filter) = &options.filter {
                    text.push_str(&format!(" WHERE ({filter})"));
                }
            }
            text
        })
        .collect();
    tables.join(", ")
}

pub(crate) fn create_slot(checked: &Checked, facts: &ServerFacts) -> String {
    let slot = literal(&checked.slot);
    if checked.config.failover && facts.version >= 170_000 {
        format!("SELECT pg_create_logical_replication_slot({slot}, 'pgoutput', failover => true)")
    } else {
        format!("SELECT pg_create_logical_replication_slot({slot}, 'pgoutput')")
    }
}

fn trigger_name(checked: &Checked) -> String {
    let mut name = format!("{}_ddl", checked.publication);
    if name.len() > 63 {
        name = name[name.len() - 63..].to_owned();
    }
    name
}

async fn has_ddl_trigger(client: &mut Client, checked: &Checked) -> Result<bool, SqlError> {
    let rows = client
        .rows(&format!(
            "SELECT 1 FROM pg_event_trigger WHERE evtname = {}",
            literal(&trigger_name(checked))
        ))
        .await?;
    Ok(!rows.is_empty())
}

/// An event trigger that reports each DDL statement as a logical message of its transaction.
fn ddl_trigger(checked: &Checked) -> [String; 2] {
    let name = trigger_name(checked);
    let function = qualified("public", &name);
    [
        format!(
            "CREATE FUNCTION {function}() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog AS $headgate$ BEGIN \
             PERFORM pg_logical_emit_message(true, {}, json_build_object('command', tg_tag, 'statement', current_query(), \
             'objects', (SELECT json_agg(json_build_object('type', object_type, 'identity', object_identity)) \
             FROM pg_event_trigger_ddl_commands()))::text); END $headgate$",
            literal(DDL_PREFIX)
        ),
        format!(
            "CREATE EVENT TRIGGER {} ON ddl_command_end EXECUTE FUNCTION {function}()",
            identifier(&name)
        ),
    ]
}
