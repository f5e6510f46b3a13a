//! `headgate mongodb check`: what it finds, and that the commands it prints mend it.

use std::process::Output;

use ::mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use super::{server::OwnServer, url};
use crate::support::{gateway::Place, unique};

/// Runs the check on one source called `shop`: its exit code and what it printed.
fn check(source: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(
        folder.path(),
        &format!("sources:\n  shop: {{ type: mongodb, {source} }}\n"),
    );
    ended(&place.command(&["mongodb", "check"]))
}

fn ended(output: &Output) -> (i32, String) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

/// The printed lines that are commands for the shell.
fn commands(said: &str) -> Vec<&str> {
    said.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("db.") || line.starts_with("rs."))
        .collect()
}

/// A shell's object literal as a document.
fn literal(text: &str) -> Bson {
    let mut json = String::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                json.push(c);
            }
            c if !quoted && c.is_alphanumeric() => word.push(c),
            c => {
                let is_key = c == ':' && !word.is_empty() && !quoted;
                json.push_str(&match is_key {
                    true => format!("\"{word}\""),
                    false => word.clone(),
                });
                word.clear();
                json.push(c);
            }
        }
    }
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// Does what a printed command does in the shell.
async fn execute(client: &Client, command: &str) {
    let rest = command.strip_prefix("db.getSiblingDB(\"").unwrap();
    let (database, rest) = rest.split_once("\").").unwrap();
    let (name, arguments) = rest.split_once('(').unwrap();
    let arguments = arguments.strip_suffix(')').unwrap();
    let command: Document = match name {
        "runCommand" => literal(arguments).as_document().unwrap().clone(),
        "createRole" => {
            let mut role = literal(arguments).as_document().unwrap().clone();
            let mut command = doc! { "createRole": role.remove("role").unwrap() };
            command.extend(role);
            command
        }
        "grantRolesToUser" => {
            let (user, roles) = arguments.split_once(", ").unwrap();
            doc! { "grantRolesToUser": literal(user), "roles": literal(roles) }
        }
        other => panic!("no command of the shell: {other}"),
    };
    client
        .database(database)
        .run_command(command)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_has_everything_is_fine() {
    let name = unique("headgate").replace('-', "_");
    let database = Client::with_uri_str(url()).await.unwrap().database(&name);
    database.create_collection("orders").await.unwrap();
    let (code, said) = check(&format!(
        "url: \"{}\", database: {name}, collections: [orders, people]",
        url()
    ));
    assert_eq!(code, 0, "{said}");
    for line in [
        "ok    replica set `",
        "ok    version ",
        "ok    the change stream on ",
        "ok    1 collections are watched",
        &format!("note  {name}.people does not exist (yet): check the spelling"),
        "note  pre- and post-images are not asked for",
        "the oplog holds ",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    database.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn required_images_that_are_missing_are_mended_by_the_printed_commands() {
    let name = unique("headgate").replace('-', "_");
    let client = Client::with_uri_str(url()).await.unwrap();
    let database = client.database(&name);
    for collection in ["orders", "people"] {
        database.create_collection(collection).await.unwrap();
    }
    let source = format!(
        "url: \"{}\", database: {name}, full_document_before_change: required",
        url()
    );
    let (code, said) = check(&source);
    assert_eq!(code, 1, "{said}");
    let printed: Vec<_> = commands(&said)
        .into_iter()
        .filter(|command| command.contains("collMod"))
        .collect();
    assert_eq!(
        printed,
        ["orders", "people"].map(|collection| format!(
            "db.getSiblingDB(\"{name}\").runCommand({{collMod: \"{collection}\", changeStreamPreAndPostImages: {{enabled: true}}}})"
        )),
    );
    for command in printed {
        execute(&client, command).await;
    }
    let (code, said) = check(&source);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("ok    all watched collections keep pre- and post-images"),
        "{said}"
    );
    let (code, said) = check(&format!("{source}, collections: [orders, later]"));
    assert_eq!(code, 0, "{said}");
    let made = format!(
        "db.getSiblingDB(\"{name}\").createCollection(\"later\", {{changeStreamPreAndPostImages: {{enabled: true}}}})"
    );
    assert!(commands(&said).contains(&made.as_str()), "{said}");
    database.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileges_that_are_missing_are_granted_by_the_printed_commands() {
    let server = OwnServer::start("");
    let client = Client::with_uri_str(&server.url).await.unwrap();
    for (user, roles) in [
        ("root", vec![doc! { "role": "root", "db": "admin" }]),
        ("poor", Vec::new()),
        ("app", Vec::new()),
        ("all", Vec::new()),
    ] {
        let user = doc! { "createUser": user, "pwd": "s3cret", "roles": roles };
        client.database("admin").run_command(user).await.unwrap();
    }
    client
        .database("shop")
        .collection("orders")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    server.restart("--auth");
    let as_user = |user: &str| {
        let host = server.url.trim_start_matches("mongodb://");
        format!("mongodb://{user}:s3cret@{host}")
    };
    let root = Client::with_uri_str(as_user("root")).await.unwrap();
    // A collection, a database, everything: each is granted no more than it needs.
    for (user, what) in [
        ("poor", "database: shop, collections: [orders]"),
        ("app", "database: shop"),
        ("all", "collections: [\"shop.*\"]"),
    ] {
        let source = format!("url: \"{}\", {what}", as_user(user));
        let (code, said) = check(&source);
        assert_eq!(code, 1, "{user}: {said}");
        assert!(
            said.contains("WRONG the user may not open a change stream on "),
            "{user}: {said}"
        );
        let mut printed = commands(&said);
        printed.retain(|command| !command.contains("replSetResizeOplog"));
        printed.dedup();
        printed.truncate(2);
        assert!(printed[0].contains("createRole") && printed[1].contains(user));
        for command in printed {
            execute(&root, command).await;
        }
        let (code, said) = check(&source);
        assert_eq!(code, 0, "{user}: {said}");
        // The next one's role has the same name.
        if user != "all" {
            root.database("admin")
                .run_command(doc! { "dropRole": "headgate-shop" })
                .await
                .unwrap();
        }
    }
    let (code, said) = check(&format!(
        "url: \"{}\", database: shop",
        as_user("app").replace("s3cret", "wrong")
    ));
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("check user, password") && !said.contains("wrong@"),
        "{said}"
    );
}

#[test]
fn a_server_alone_is_wrong_and_one_that_is_away_a_failure() {
    let server = OwnServer::start("--standalone");
    let (code, said) = check(&format!("url: \"{}\", database: shop", server.url));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("--replSet rs0"), "{said}");
    assert_eq!(commands(&said), ["rs.initiate()"]);
    let (code, said) =
        check("url: \"mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200\", database: shop");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("can be reached"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(
        folder.path(),
        "sources:\n  shop: { type: mongodb, url: \"mongodb://127.0.0.1/\", database: shop }\n",
    );
    let (code, said) = ended(&place.command(&["mongodb", "check", "shed"]));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no source `shed`"), "{said}");
}
