//! `headgate postgres check|setup|drop` as a DBA meets them.

use super::database::Database;
use crate::support::gateway::Place;

/// Exit code, standard output and standard error.
fn run(place: &Place, words: &[&str]) -> (i32, String, String) {
    let words: Vec<&str> = std::iter::once("postgres")
        .chain(words.iter().copied())
        .collect();
    let output = place.command(&words);
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{text}\ndoes not say {word:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_missing_is_named_with_what_mends_it() {
    let database = Database::new().await;
    let role = format!("reader_{}", database.name);
    database
        .run(&format!(
            "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE keyless (x int); CREATE ROLE {role} PASSWORD 'p'"
        ))
        .await;
    let owner = database.url();
    let (_, rest) = owner.split_once('@').unwrap();
    let url = |credentials: &str| format!("postgres://{credentials}@{rest}");
    let section = |url: &str| {
        format!(
            "sources:\n  crm: {{ type: postgres, url: \"{url}\", tables: [public.orders, public.keyless, public.ordres], slot: {} }}\n",
            database.name
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), "");
    let refusals: [(String, &[&str]); 3] = [
        (
            url(&format!("{role}:p")),
            &["not permitted to log in", "ALTER ROLE … LOGIN"],
        ),
        (
            "postgres://u:p@127.0.0.1:1/d".into(),
            &["127.0.0.1:1", "is the server there"],
        ),
        (format!("{owner}_not"), &["does not exist"]),
    ];
    for (url, words) in refusals {
        place.configure(&section(&url));
        let (code, _, error) = run(&place, &["check"]);
        assert_eq!(code, 3, "{error}");
        assert_says(&error, words);
    }
    database.run(&format!("ALTER ROLE {role} LOGIN")).await;
    place.configure(&section(&url(&format!("{role}:wrong"))));
    let (code, _, error) = run(&place, &["check"]);
    assert_eq!(code, 3, "{error}");
    assert_says(
        &error,
        &[
            "password authentication failed",
            "the password in `url` is wrong",
        ],
    );
    assert!(!error.contains("wrong@"), "the password is shown: {error}");

    place.configure(&section(&url(&format!("{role}:p"))));
    let (code, found, _) = run(&place, &["check"]);
    assert_eq!(code, 1);
    assert_says(
        &found,
        &[
            &format!("ALTER ROLE \"{role}\" REPLICATION;"),
            "`public.ordres` in `tables` matches no table",
            "publication headgate_crm does not exist",
            "CREATE PUBLICATION \"headgate_crm\" FOR TABLE \"public\".\"keyless\", \"public\".\"orders\"",
            "table public.keyless has no replica identity",
            &format!("GRANT SELECT ON \"public\".\"orders\" TO \"{role}\""),
        ],
    );
    // What it may not do is not done, and the output says how far it came.
    let (code, done, error) = run(&place, &["setup"]);
    assert_eq!((code, done.as_str()), (3, ""));
    assert_says(
        &error,
        &[
            "permission denied",
            "--as",
            "what was not done: CREATE PUBLICATION",
        ],
    );
    let (code, planned, _) = run(&place, &["setup", "--dry-run", "--as", &owner]);
    assert_eq!(code, 0);
    let (code, done, _) = run(&place, &["setup", "--as", &owner]);
    assert_eq!((code, done), (0, planned));
    // With what it printed, it is fine.
    database
        .run(&format!(
            "ALTER ROLE {role} REPLICATION; GRANT SELECT ON orders, keyless TO {role}; ALTER TABLE keyless REPLICA IDENTITY FULL"
        ))
        .await;
    let (code, found, _) = run(&place, &["check"]);
    assert_eq!(code, 0, "{found}");
    assert_says(
        &found,
        &[
            "publication headgate_crm has 2 tables",
            "table public.keyless has no key",
        ],
    );
    let (code, _, _) = run(&place, &["drop", "--as", &owner]);
    assert_eq!(code, 0);
    let (code, done, error) = run(&place, &["drop", "--as", &owner]);
    assert_eq!((code, done.as_str()), (0, ""));
    assert_says(&error, &["nothing to do"]);
    database
        .run(&format!(
            "REVOKE ALL ON orders, keyless FROM {role}; DROP ROLE {role}"
        ))
        .await;
    database.drop_all().await;
}

/// What a dry run prints is exactly this, and it does the same by hand.
async fn printed_sql_runs_by_hand(database: Database) {
    let version = database.rows("SHOW server_version_num").await[0][0].clone();
    let version: u32 = version.unwrap().parse().unwrap();
    let generated = match version {
        180_000.. => ", publish_generated_columns = stored",
        _ => "",
    };
    database
        .run(
            "CREATE TABLE orders (id int PRIMARY KEY, note text, secret text); CREATE TABLE \"Odd \"\"Name\" (id int PRIMARY KEY);
             CREATE TABLE parts (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let (name, url) = (&database.name, database.url());
    let place = Place::new(
        folder.path(),
        &format!(
            "sources:\n  crm: {{ type: postgres, url: \"{url}\", tables: [\"public.*\"], slot: {name}, ddl: true, \
             table_options: {{ public.orders: {{ columns: [id, note], filter: \"id % 2 = 0\" }} }} }}\n"
        ),
    );
    let (code, printed, _) = run(&place, &["setup", "--dry-run"]);
    let function = "CREATE FUNCTION \"public\".\"headgate_crm_ddl\"() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET \
         search_path = pg_catalog AS $headgate$ BEGIN PERFORM pg_logical_emit_message(true, 'headgate:ddl', \
         json_build_object('command', tg_tag, 'statement', current_query(), 'objects', (SELECT json_agg(json_build_object('type', \
         object_type, 'identity', object_identity)) FROM pg_event_trigger_ddl_commands()))::text); END $headgate$;";
    let expected = [
        format!(
            "CREATE PUBLICATION \"headgate_crm\" FOR TABLE \"public\".\"Odd \"\"Name\", \"public\".\"orders\" (\"id\", \"note\") WHERE \
             (id % 2 = 0), \"public\".\"parts\" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = \
             true{generated});"
        ),
        format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput');"),
        function.to_owned(),
        "CREATE EVENT TRIGGER \"headgate_crm_ddl\" ON ddl_command_end EXECUTE FUNCTION \"public\".\"headgate_crm_ddl\"();".to_owned(),
    ];
    assert_eq!(
        (code, printed.lines().collect::<Vec<_>>()),
        (0, expected.iter().map(String::as_str).collect())
    );
    for statement in printed.lines() {
        database.run(statement).await;
    }
    let (code, done, error) = run(&place, &["setup"]);
    assert_eq!((code, done.as_str()), (0, ""));
    assert_says(&error, &["nothing to do"]);
    let (code, found, _) = run(&place, &["check"]);
    assert_eq!(code, 0, "{found}");

    let (code, printed, _) = run(&place, &["drop", "--dry-run"]);
    let expected = [
        format!("SELECT pg_drop_replication_slot('{name}');"),
        "DROP PUBLICATION \"headgate_crm\";".to_owned(),
        "DROP EVENT TRIGGER \"headgate_crm_ddl\";".to_owned(),
        "DROP FUNCTION \"public\".\"headgate_crm_ddl\"();".to_owned(),
    ];
    assert_eq!(
        (code, printed.lines().collect::<Vec<_>>()),
        (0, expected.iter().map(String::as_str).collect())
    );
    for statement in printed.lines() {
        database.run(statement).await;
    }
    let (code, done, error) = run(&place, &["drop"]);
    assert_eq!((code, done.as_str()), (0, ""));
    assert_says(&error, &["nothing to do"]);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sql_of_a_dry_run_is_exact_and_runs_by_hand() {
    printed_sql_runs_by_hand(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sql_of_a_dry_run_is_exact_and_runs_by_hand_on_18() {
    let database = Database::on("POSTGRES18_URL", "postgres18").await;
    printed_sql_runs_by_hand(database).await;
}
