//! `headgate mongodb check`: asks the deployment everything that a source needs, and says which commands mend what is missing.

use headgate_sdk::command::{CommandContext, CommandOutcome, ConfiguredSource};
use mongodb::{
    Client,
    bson::{Bson, Document, Timestamp, doc},
    error::Error,
};

use crate::{
    config::{BeforeChange, Checked, Config, FullDocument},
    deployment::{self, CollectionInfo, Deployment},
    failure,
    scope::Scope,
    stream::{Abilities, ChangeStream, Pace, Start},
};

/// The oldest server on which everything works except large events.
const OLDEST: (i32, i32) = (4, 2);
/// An oplog that holds less is easily outrun by a long weekend.
const SHORT_HOURS: f64 = 24.0;

/// The command line.
pub(crate) fn definition() -> clap::Command {
    clap::Command::new("mongodb")
        .about("MongoDB change streams")
        .subcommand_required(true)
        .subcommand(
            clap::Command::new("check")
                .about("Checks server, privileges, images and oplog of the configured sources, and prints the commands that mend them")
                .arg(clap::Arg::new("source").help("Only this source")),
        )
}

/// Runs it.
pub(crate) async fn run(matches: &clap::ArgMatches, cx: CommandContext<'_>) -> CommandOutcome {
    let Some(("check", matches)) = matches.subcommand() else {
        return CommandOutcome::Usage("write `headgate mongodb check`".into());
    };
    let wanted = matches.get_one::<String>("source");
    let sources = match (cx.sources)() {
        Ok(sources) => sources,
        Err(outcome) => return outcome,
    };
    let chosen: Vec<_> = sources
        .into_iter()
        .filter(|source| wanted.is_none_or(|wanted| source.info.name == *wanted))
        .collect();
    if chosen.is_empty() {
        return CommandOutcome::Usage(match wanted {
            Some(wanted) => format!("the configuration has no source `{wanted}` of type `mongodb`"),
            None => "the configuration has no source of type `mongodb`".into(),
        });
    }
    let mut all_fine = true;
    let mut failed = Vec::new();
    for source in chosen {
        let name = source.info.name.clone();
        match check(source).await {
            Ok(report) => {
                all_fine &= report.is_fine();
                print!("{name}\n{}", report.text);
            }
            // The others are checked all the same.
            Err(message) => failed.push(format!("{name}: {message}")),
        }
    }
    if !failed.is_empty() {
        CommandOutcome::Failed(failed.join("\n"))
    } else if all_fine {
        CommandOutcome::Fine
    } else {
        CommandOutcome::Wrong
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    text: String,
    wrong: usize,
}

impl Report {
    fn fine(&mut self, line: impl AsRef<str>) {
        self.line("ok   ", line.as_ref());
    }

    fn note(&mut self, line: impl AsRef<str>) {
        self.line("note ", line.as_ref());
    }

    fn wrong(&mut self, line: impl AsRef<str>, commands: &[String]) {
        self.wrong += 1;
        self.line("WRONG", line.as_ref());
        self.commands(commands);
    }

    fn commands(&mut self, commands: &[String]) {
        for command in commands {
            self.line("     ", &format!("  {command}"));
        }
    }

    fn line(&mut self, word: &str, line: &str) {
        self.text.push_str("  ");
        self.text.push_str(word);
        self.text.push(' ');
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn is_fine(&self) -> bool {
        self.wrong == 0
    }
}

/// Checks one source.
///
/// # Errors
/// If the server cannot be asked at all.
async fn check(source: ConfiguredSource) -> Result<Report, String> {
    let config: Config =
        serde_json::from_value(source.config).map_err(|error| error.to_string())?;
    let config = Checked::new(config, &source.info).map_err(|error| error.to_string())?;
    let scope = config.scope.text();
    let role = format!("headgate-{}", source.info.name);
    let cannot = |error: &Error| failure::advice(error, &scope);
    let client = deployment::connect(&config).await.map_err(|e| cannot(&e))?;
    let deployment = Deployment::ask(&client).await.map_err(|e| cannot(&e))?;
    let mut report = Report::default();
    check_server(&client, &deployment, &config, &mut report).await;
    if !deployment.has_history() {
        return Ok(report);
    }
    check_stream(&client, &config, &role, &mut report).await;
    check_collections(&client, &config, &role, &mut report).await;
    check_oplog(&client, &deployment, &mut report).await;
    Ok(report)
}

async fn check_server(
    client: &Client,
    deployment: &Deployment,
    config: &Checked,
    report: &mut Report,
) {
    match (&deployment.replica_set, deployment.sharded) {
        (Some(name), _) => report.fine(format!("replica set `{name}`")),
        (None, true) => report.fine("sharded cluster, through a router"),
        (None, false) => report.wrong(
            "the server is no member of a replica set, so it keeps no history; start it with `--replSet rs0` and run",
            &["rs.initiate()".into()],
        ),
    }
    let version = client
        .database("admin")
        .run_command(doc! { "buildInfo": 1 })
        .await;
    let Ok(version) = version else {
        return report.note("the server does not tell its version");
    };
    let text = version.get_str("version").unwrap_or("unknown");
    let number = |i: usize| {
        version
            .get_array("versionArray")
            .ok()
            .and_then(|v| v.get(i))
            .and_then(Bson::as_i32)
            .unwrap_or(0)
    };
    let version = (number(0), number(1), number(2));
    if (version.0, version.1) < OLDEST {
        report.wrong(
            format!(
                "version {text}: the oldest that is supported is {}.{}",
                OLDEST.0, OLDEST.1
            ),
            &[],
        );
    } else {
        report.fine(format!("version {text}"));
    }
    if version < (6, 0, 9) {
        report.note("before 6.0.9 a change larger than 16 MB cannot be split: it goes to the dead letters with its key");
    }
    if version.0 < 6 {
        let images = config.before != BeforeChange::Off
            || matches!(
                config.full_document,
                FullDocument::WhenAvailable | FullDocument::Required
            );
        if images || config.expanded {
            report.wrong(
                "pre- and post-images and `show_expanded_events` need version 6.0",
                &[],
            );
        }
    }
}

/// Privileges are tried, not guessed: the stream is opened as the source would open it.
async fn check_stream(client: &Client, config: &Checked, role: &str, report: &mut Report) {
    let pace = Pace {
        wait: std::time::Duration::from_millis(100),
        single: false,
        thin: false,
    };
    let mut abilities = Abilities::default();
    let opened = ChangeStream::open(client, config, &Start::Now, pace, &mut abilities);
    match Box::pin(opened).await {
        Ok(_) => report.fine(format!(
            "the change stream on {} opens",
            config.scope.text()
        )),
        Err(error) if failure::code(&error) == Some(failure::UNAUTHORIZED) => {
            report.wrong(
                format!(
                    "the user may not open a change stream on {}",
                    config.scope.text()
                ),
                &grants(client, config, role).await,
            );
        }
        Err(error) => report.wrong(failure::advice(&error, &config.scope.text()), &[]),
    }
    if abilities.no_split {
        report.note("the server does not split large events");
    }
}

async fn check_collections(client: &Client, config: &Checked, role: &str, report: &mut Report) {
    let existing = match deployment::collections(client, &config.scope).await {
        Ok(existing) => existing,
        Err(error) => {
            let commands = match failure::code(&error) {
                Some(failure::UNAUTHORIZED) => grants(client, config, role).await,
                _ => Vec::new(),
            };
            return report.wrong(
                format!(
                    "collections cannot be listed: {}",
                    failure::advice(&error, &config.scope.text())
                ),
                &commands,
            );
        }
    };
    match existing.len() {
        0 => report.note(format!(
            "nothing that {} names exists yet",
            config.scope.text()
        )),
        n => report.fine(format!("{n} collections are watched")),
    }
    let mut absent = config.scope.named();
    absent.retain(|(database, name)| {
        !existing
            .iter()
            .any(|c| c.database == *database && c.name == *name)
    });
    for (database, name) in &absent {
        report.note(format!(
            "{database}.{name} does not exist (yet): check the spelling"
        ));
    }
    let mut unreadable = Vec::new();
    for collection in &existing {
        let found = client
            .database(&collection.database)
            .collection::<Document>(&collection.name)
            .find_one(doc! {})
            .await;
        if let Err(error) = found
            && failure::code(&error) == Some(failure::UNAUTHORIZED)
        {
            unreadable.push(collection.namespace());
        }
    }
    if !unreadable.is_empty() {
        report.wrong(
            format!("the user may not read {}", unreadable.join(", ")),
            &grants(client, config, role).await,
        );
    }
    check_images(config, &existing, &absent, report);
}

fn check_images(
    config: &Checked,
    existing: &[CollectionInfo],
    absent: &[(String, String)],
    report: &mut Report,
) {
    let requires =
        config.before == BeforeChange::Required || config.full_document == FullDocument::Required;
    let wants = requires
        || config.before == BeforeChange::WhenAvailable
        || config.full_document == FullDocument::WhenAvailable;
    let without: Vec<_> = existing.iter().filter(|c| !c.images).collect();
    let commands: Vec<_> = without.iter().map(|c| c.enable_images()).collect();
    match (wants, without.is_empty()) {
        (false, _) => report.note("pre- and post-images are not asked for"),
        (true, true) if existing.is_empty() => {}
        (true, true) => report.fine("all watched collections keep pre- and post-images"),
        (true, false) if requires => report.wrong(
            format!(
                "{} collections keep no pre- and post-images, which this source requires; run",
                without.len()
            ),
            &commands,
        ),
        (true, false) => {
            report.note(format!(
                "{} collections keep no pre- and post-images; to have them, run",
                without.len()
            ));
            report.commands(&commands);
        }
    }
    if wants {
        report.note("a collection that is made later needs images as well, from the beginning");
        let made = absent.iter().map(|(database, name)| {
            format!(
                "db.getSiblingDB({database:?}).createCollection({name:?}, {{changeStreamPreAndPostImages: {{enabled: true}}}})"
            )
        });
        report.commands(&made.collect::<Vec<_>>());
    }
}

async fn check_oplog(client: &Client, deployment: &Deployment, report: &mut Report) {
    if deployment.sharded {
        return report.note(
            "the oplogs are the shards' own: run `rs.printReplicationInfo()` on each of them",
        );
    }
    match oplog_hours(client).await {
        Ok(Some(hours)) if hours >= SHORT_HOURS => {
            report.fine(format!("the oplog holds {hours:.1} hours"));
        }
        Ok(Some(hours)) => {
            report.note(format!(
                "the oplog holds {hours:.1} hours: a source that stands still for longer loses changes; to hold two days, run"
            ));
            report.commands(&["db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 48})".into()]);
        }
        Ok(None) => report.note("the oplog is empty"),
        Err(error) => report.note(format!(
            "the oplog's window cannot be read ({}); an administrator sees it with `rs.printReplicationInfo()`",
            failure::advice(&error, "local.oplog.rs")
        )),
    }
}

/// Hours between the oldest and the newest entry of the oplog.
async fn oplog_hours(client: &Client) -> Result<Option<f64>, Error> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let mut ends = Vec::new();
    for direction in [1, -1] {
        let entry = oplog
            .find_one(doc! {})
            .sort(doc! { "$natural": direction })
            .await?;
        let at = entry
            .as_ref()
            .and_then(|entry| entry.get_timestamp("ts").ok());
        ends.extend(at.map(|Timestamp { time, .. }| f64::from(time)));
    }
    Ok(match ends.as_slice() {
        [oldest, newest] => Some((newest - oldest).max(0.0) / 3600.0),
        _ => None,
    })
}

/// The commands that give this connection's user what the source needs.
async fn grants(client: &Client, config: &Checked, role: &str) -> Vec<String> {
    let status = client
        .database("admin")
        .run_command(doc! { "connectionStatus": 1 })
        .await;
    let user = status.ok().and_then(|status| {
        let users = status
            .get_document("authInfo")
            .ok()?
            .get_array("authenticatedUsers")
            .ok()?
            .clone();
        let user = users.first()?.as_document()?.clone();
        Some((
            user.get_str("user").ok()?.to_owned(),
            user.get_str("db").ok()?.to_owned(),
        ))
    });
    let (user, database) = user.unwrap_or_else(|| ("USER".into(), "admin".into()));
    let resource = match &config.scope {
        Scope::Collection {
            database,
            collection,
        } => {
            format!("{{db: {database:?}, collection: {collection:?}}}")
        }
        Scope::Database { database, .. } => {
            format!("{{db: {database:?}, collection: \"\"}}")
        }
        Scope::Deployment { .. } => "{db: \"\", collection: \"\"}".into(),
    };
    // Collections are listed by database, databases by cluster.
    let privileges = match &config.scope {
        Scope::Collection { database, .. } => format!(
            "{{resource: {resource}, actions: [\"changeStream\", \"find\"]}}, {{resource: {{db: {database:?}, collection: \"\"}}, actions: [\"listCollections\"]}}"
        ),
        Scope::Database { .. } => format!(
            "{{resource: {resource}, actions: [\"changeStream\", \"find\", \"listCollections\"]}}"
        ),
        Scope::Deployment { .. } => format!(
            "{{resource: {resource}, actions: [\"changeStream\", \"find\", \"listCollections\"]}}, {{resource: {{cluster: true}}, actions: [\"listDatabases\"]}}"
        ),
    };
    vec![
        format!(
            "db.getSiblingDB(\"admin\").createRole({{role: {role:?}, roles: [], privileges: [{privileges}]}})"
        ),
        format!(
            "db.getSiblingDB({database:?}).grantRolesToUser({user:?}, [{{role: {role:?}, db: \"admin\"}}])"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_parses() {
        let matches = definition()
            .try_get_matches_from(["mongodb", "check", "orders"])
            .unwrap();
        let (name, matches) = matches.subcommand().unwrap();
        assert_eq!(
            (name, matches.get_one::<String>("source").unwrap().as_str()),
            ("check", "orders")
        );
    }

    #[test]
    fn reports_say_what_to_run() {
        let mut report = Report::default();
        report.fine("version 8.0.4");
        report.wrong(
            "1 collections keep no pre- and post-images, which this source requires; run",
            &[CollectionInfo {
                database: "shop".into(),
                name: "or\"ders".into(),
                images: false,
            }
            .enable_images()],
        );
        assert!(!report.is_fine());
        insta::assert_snapshot!(report.text);
    }
}
