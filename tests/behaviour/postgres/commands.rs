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
