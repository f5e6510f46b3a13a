//! `kill -9` of a gateway that watches a folder, wherever a file may be on its way: nothing is published twice, and no file is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    gateway::{DEADLINE, Place},
    scale,
};

fn sections(inbox: &Path, more: &str) -> String {
    format!(
        "sources:\n  inbox: {{ type: files, paths: [{}], settle: 50ms, scan_interval: 500ms, exclude: [processed], {more} }}\n",
        inbox.display()
    )
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE * 2, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// How many files `headgate files status` counts in a state.
fn count(place: &Place, state: &str) -> u64 {
    let output = place.command(&["files", "status", "--json"]);
    let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else {
        return 0;
    };
    status["files"]["states"][state]["count"]
        .as_u64()
        .unwrap_or(0)
}

fn events_by_subject(place: &Place) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for event in place.tail() {
        let subject = event["subject"].as_str().unwrap().to_owned();
        *found.entry(subject).or_default() += 1;
    }
    found
}

fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn killed_in_each_state_a_file_is_published_once_and_put_away() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    let once = BTreeMap::from([("a.txt".to_owned(), 1)]);
    fs::write(inbox.join("a.txt"), "a").unwrap();

    // Discovered: it is still being waited for.
    let patient = sections(&inbox, "afterwards: move, settle: 1h").replace("settle: 50ms, ", "");
    let place = Place::new(folder.path(), &patient);
    let running = place.start().await;
    until("the file to be seen", || count(&place, "discovered") == 1).await;
    running.kill();

    // Published: sent, and durable nowhere, because the only sink does not answer.
    let unreachable =
        "pipeline:\n  - route: { topic: files }\nsink: { type: kafka, brokers: \"127.0.0.1:1\" }\n";
    place.configure(&(sections(&inbox, "afterwards: move") + unreachable));
    let running = place.start().await;
    until("the file to be sent", || count(&place, "published") == 1).await;
    assert!(inbox.join("a.txt").exists(), "moved before it was durable");
    running.kill();

    // Acknowledged: durable, and not yet moved, because something lies in the way.
    let obstacle = inbox.join("processed");
    fs::write(&obstacle, "in the way").unwrap();
    place.configure(&sections(&inbox, "afterwards: move"));
    let running = place.start().await;
    until("the event to be durable", || {
        count(&place, "acknowledged") == 1
    })
    .await;
    running.kill();
    assert_eq!(events_by_subject(&place), once);
    fs::remove_file(&obstacle).unwrap();

    // Moved; whether that is noted is a matter of luck, and makes no difference.
    let running = place.start().await;
    until("the move", || inbox.join("processed/a.txt").exists()).await;
    running.kill();

    let running = place.start().await;
    fs::write(inbox.join("b.txt"), "b").unwrap();
    until("the next file", || inbox.join("processed/b.txt").exists()).await;
    until("the move to be noted", || count(&place, "archived") >= 1).await;
    assert!(running.stop().success());
    let expected = BTreeSet::from(["a.txt".to_owned(), "b.txt".to_owned()]);
    assert_eq!(names(&inbox.join("processed")), expected);
    assert_eq!(names(&inbox), BTreeSet::from(["processed".to_owned()]));
    let twice = events_by_subject(&place);
    assert!(
        twice.values().all(|times| *times == 1) && twice.len() == 2,
        "{twice:?}"
    );
}

#[tokio::test]
async fn of_many_files_that_lie_there_twice_each_is_published_once() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    let contents = usize::try_from(scale(1500, 20_000)).unwrap();
    // So many that the first are durable, and no longer remembered as being on their way, when their copies are judged.
    for n in 0..2 * contents {
        fs::write(
            inbox.join(format!("{n:06}.txt")),
            (n % contents).to_string(),
        )
        .unwrap();
    }
    let place = Place::new(folder.path(), &sections(&inbox, "afterwards: delete"));
    let running = place.start().await;
    until("all files to be done", || names(&inbox).is_empty()).await;
    assert!(running.stop().success());
    assert_eq!(place.tail().len(), contents);
}

#[tokio::test]
async fn files_that_arrive_through_kills_are_each_in_the_log_once() {
    for afterwards in ["move", "delete"] {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        let place = Place::new(
            folder.path(),
            &sections(&inbox, &format!("afterwards: {afterwards}")),
        );
        let mut dropped = BTreeSet::new();
        for round in 0..scale(6, 40) {
            let running = place.start().await;
            for n in 0..40 {
                let name = format!("{round:02}-{n:02}.txt");
                fs::write(inbox.join(&name), &name).unwrap();
                dropped.insert(name);
            }
            // Killed after a number of files that differs from round to round.
            let left = 40 - usize::try_from(round * 17 % 40).unwrap();
            until("some files to be put away", || {
                let is_file = |name: &String| name.ends_with(".txt");
                names(&inbox).iter().filter(|name| is_file(name)).count() <= left
            })
            .await;
            running.kill();
        }
        let running = place.start().await;
        let put_away = || names(&inbox).iter().all(|name| name == "processed");
        let waited = tokio::time::timeout(DEADLINE, until("all files to be put away", put_away));
        assert!(
            waited.await.is_ok(),
            "{:?} are still there; files status: {}; the gateway: {}",
            names(&inbox),
            String::from_utf8_lossy(&place.command(&["files", "status"]).stdout),
            place.log()
        );
        assert!(running.stop().success());
        let logged = events_by_subject(&place);
        let twice: Vec<_> = logged.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "published twice: {twice:?}");
        assert_eq!(logged.into_keys().collect::<BTreeSet<_>>(), dropped);
        if afterwards == "move" {
            assert_eq!(names(&inbox.join("processed")), dropped);
        }
    }
}
