//! What an operator is told of watched folders: `headgate files status`, and warnings that name the remedy.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use serde_json::Value;

use super::process::{Ended, Folder, Running, free_port, wait};

fn config(admin: u16) -> String {
    format!(
        "data_dir: ./data\nhttp: {{ listen: 127.0.0.1:{} }}\nadmin: {{ listen: 127.0.0.1:{admin} }}\nsources:\n  exports: {{ type: files, \
         paths: [./exports], settle: 50ms, scan_interval: 1s, afterwards: move, records: {{ format: csv }} }}\n  scans: {{ type: files, \
         paths: [./scans], settle: 50ms, scan_interval: 1s }}\n",
        free_port()
    )
}

/// What `--json` says of each source.
fn files(ended: Ended) -> Vec<Value> {
    let lines = ended.expect(0).stdout;
    let mut sources: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for source in &mut sources {
        assert!(source["source"].is_string(), "{source}");
    }
    sources.iter_mut().map(|s| s["files"].take()).collect()
}

fn count(files: &Value, state: &str) -> u64 {
    files["states"][state]["count"].as_u64().unwrap_or(0)
}

#[test]
fn files_are_counted_by_state_with_and_without_a_gateway() {
    let folder = Folder::with(&config(free_port()));
    folder.write("exports/good.csv", "id,name\n1,x\n2,y\n");
    // The first two bytes of gzip, and nothing more.
    fs::write(folder.path().join("exports/torn.csv.gz"), [0x1F, 0x8B]).unwrap();
    folder.write("scans/a.pdf", "%PDF-1.7 a");
    folder.write("scans/copy of a.pdf", "%PDF-1.7 a");
    let half = folder.path().join("scans/half.pdf");
    let mut writer = File::create(&half).unwrap();
    writer.write_all(b"%PDF-1.7 hal").unwrap();
    let running = folder.start(&[]);
    let status = || files(folder.run(&["files", "status", "--json"]));
    let done = |all: &[Value]| {
        (count(&all[0], "archived"), count(&all[0], "failed")) == (1, 1)
            && (count(&all[1], "acknowledged"), count(&all[1], "discovered")) == (2, 1)
    };
    let all = wait(
        || Some(status()).filter(|all| done(all)),
        || format!("{:?}\n{}", status(), running.said.text()),
    );
    let (exports, scans) = (&all[0], &all[1]);
    assert_eq!(
        (&exports["running"], &scans["running"]),
        (&true.into(), &true.into())
    );
    let failed = &exports["failed"][0];
    assert!(
        failed["path"]
            .as_str()
            .unwrap()
            .ends_with("exports/torn.csv.gz")
    );
    let reason = failed["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("ends too early"), "{reason}");
    assert!(failed["since"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(scans["duplicates"], 1);
    let oldest = scans["states"]["discovered"]["oldest"].as_str().unwrap();
    assert!(oldest.ends_with("scans/half.pdf"), "{oldest}");
    assert!(scans["states"]["acknowledged"]["oldest"].is_string());

    let shown = folder.run(&["files", "status"]).expect(0).stdout;
    for words in [
        "exports\n",
        "scans\n",
        "  archived             1  oldest ",
        "  failed               1  oldest ",
        "exports/torn.csv.gz\n    the compressed file ends too early\n",
        "  discovered           1  oldest ",
        "scans/half.pdf\n",
        "  duplicates           1\n",
    ] {
        assert!(shown.contains(words), "{words:?} is missing from\n{shown}");
    }
    let one = files(folder.run(&["files", "status", "scans", "--json"]));
    assert_eq!(one.len(), 1);
    let nobody = folder.run(&["files", "status", "nope"]).expect(2);
    assert!(
        nobody.stderr.contains("no source `nope`"),
        "{}",
        nobody.stderr
    );

    // Asked at the wrong door, the command does not read behind the gateway's back.
    folder.write("other.yaml", &config(free_port()));
    let locked = folder
        .run(&["files", "status", "-c", "other.yaml"])
        .expect(3);
    assert!(locked.stderr.contains("in use"), "{}", locked.stderr);

    assert!(running.stop().success());
    let all = status();
    assert_eq!(
        (&all[0]["running"], &all[1]["running"]),
        (&false.into(), &false.into())
    );
    assert_eq!(
        (count(&all[0], "archived"), count(&all[0], "failed")),
        (1, 1)
    );
    assert_eq!(all[0]["failed"][0]["reason"], *reason);
    assert_eq!(count(&all[1], "acknowledged"), 2);
    assert_eq!(
        count(&all[1], "discovered"),
        0,
        "nothing is known of it now"
    );
    let shown = folder.run(&["files", "status"]).expect(0).stdout;
    assert!(
        shown.contains("exports (not running: only what is stored)"),
        "{shown}"
    );
    drop(writer);
}

/// All warnings of the running gateway, as one text.
fn warnings(folder: &Folder) -> String {
    let status = folder.run(&["status", "--json"]).expect(0).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    match &status["sources"][0]["warnings"] {
        Value::Null => String::new(),
        warnings => warnings.to_string(),
    }
}

fn subjects(folder: &Folder) -> BTreeSet<String> {
    let lines = folder
        .run(&["tail", "--from-start", "--no-follow", "--json"])
        .expect(0)
        .stdout;
    let subject = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["subject"].as_str().unwrap().to_owned()
    };
    lines.lines().map(subject).collect()
}

fn watching(more: &str) -> Folder {
    Folder::with(&format!(
        "http: {{ listen: 127.0.0.1:{} }}\nadmin: {{ listen: 127.0.0.1:{} }}\nsources:\n  inbox: {{ type: files, paths: [./inbox], settle: \
         50ms, poll_interval: 300ms, {more} }}\n",
        free_port(),
        free_port()
    ))
}

/// What lies in the way of the user that the gateway runs as, who is nobody here: root may read everything.
#[test]
fn what_may_not_be_read_is_named_with_its_remedy() {
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let folder = watching("scan_interval: 300ms");
    folder.write("inbox/fine.txt", "1");
    let secret = folder.write("inbox/secret.txt", "2");
    let closed = folder.write("inbox/closed/inside.txt", "3");
    let closed = closed.parent().unwrap();
    mode(&secret, 0o000);
    mode(closed, 0o000);
    mode(folder.path(), 0o777);
    let mut command = folder.command(&["run"]);
    // Whoever makes a file owns it.
    if fs::metadata(&secret).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let running = folder.start_with(command);
    wait(
        || {
            let told = warnings(&folder);
            let named = [
                "inbox/secret.txt: ",
                "inbox/closed: ",
                "let the user that Headgate runs as read it",
            ];
            named.iter().all(|words| told.contains(words)).then_some(())
        },
        || warnings(&folder),
    );
    wait(
        || (subjects(&folder) == BTreeSet::from(["fine.txt".to_owned()])).then_some(()),
        || format!("{:?}", subjects(&folder)),
    );
    mode(&secret, 0o644);
    mode(closed, 0o755);
    wait(
        || (subjects(&folder).len() == 3 && warnings(&folder).is_empty()).then_some(()),
        || format!("{:?} {}", subjects(&folder), warnings(&folder)),
    );
    // The folder itself.
    mode(&folder.path().join("inbox"), 0o000);
    wait(
        || warnings(&folder).contains("./inbox: ").then_some(()),
        || warnings(&folder),
    );
    mode(&folder.path().join("inbox"), 0o755);
    folder.write("inbox/late.txt", "4");
    wait(
        || (subjects(&folder).len() == 4 && warnings(&folder).is_empty()).then_some(()),
        || format!("{:?} {}", subjects(&folder), warnings(&folder)),
    );
    assert!(running.stop().success());
}

/// A namespace of its own has few inotify watches, so that nobody else runs out of them.
fn with_watches(folder: &Folder, watches: u32) -> Running {
    let mut command = folder.command(&[]);
    let script = format!("echo {watches} > /proc/sys/user/max_inotify_watches && exec \"$0\" run");
    let program = command.get_program().to_owned();
    command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--", "sh", "-c", &script])
        .arg(program)
        .current_dir(folder.path());
    folder.start_with(command)
}

#[test]
fn without_inotify_watches_folders_are_scanned_and_the_remedy_is_told() {
    let remedy = "sysctl fs.inotify.max_user_watches=";
    // Too few for what is there at the start, and too few for what comes later.
    for early in [true, false] {
        let folder = watching("scan_interval: 500ms");
        fs::create_dir(folder.path().join("inbox")).unwrap();
        let fill = || {
            for n in 0..6 {
                folder.write(&format!("inbox/{n}/deep/file.txt"), &n.to_string());
            }
        };
        if early {
            fill();
        }
        let running = with_watches(&folder, 3);
        if !early {
            folder.write("inbox/first.txt", "first");
            wait(
                || (subjects(&folder).len() == 1).then_some(()),
                || running.said.text(),
            );
            assert_eq!(warnings(&folder), "");
            fill();
        }
        wait(
            || warnings(&folder).contains(remedy).then_some(()),
            || warnings(&folder),
        );
        let expected = if early { 6 } else { 7 };
        wait(
            || (subjects(&folder).len() == expected).then_some(()),
            || format!("{:?}", subjects(&folder)),
        );
        folder.write("inbox/5/deep/later.txt", "later");
        wait(
            || subjects(&folder).contains("5/deep/later.txt").then_some(()),
            || format!("{:?}", subjects(&folder)),
        );
        assert!(running.stop().success());
    }
}

#[test]
fn copies_of_files_lie_where_the_configuration_says() {
    let folder = watching("scan_interval: 500ms, content: claim_check");
    let config = fs::read_to_string(folder.path().join("headgate.yaml")).unwrap();
    // A bucket that nobody serves holds the file up, and says so.
    let bucket = "claim_check: { s3: { bucket: copies, endpoint: \"http://127.0.0.1:1\", access_key_id: k, secret_access_key: s } }\n";
    folder.write("headgate.yaml", &format!("{bucket}{config}"));
    let path = folder.write("inbox/a.pdf", "%PDF-1.7 a");
    let running = folder.start(&[]);
    wait(
        || {
            let told = warnings(&folder);
            let words = ["inbox/a.pdf: ", "`s3://copies`", "it is tried again"];
            words.iter().all(|words| told.contains(words)).then_some(())
        },
        || format!("{}\n{}", warnings(&folder), running.said.text()),
    );
    assert_eq!(subjects(&folder).len(), 0);
    assert!(running.stop().success());
    // A folder does not.
    folder.write(
        "headgate.yaml",
        &format!("claim_check: {{ folder: ./copies }}\n{config}"),
    );
    let running = folder.start(&[]);
    let events = || {
        let tail = folder.run(&["tail", "--from-start", "--no-follow", "--json"]);
        tail.expect(0).stdout
    };
    let line = wait(
        || events().lines().next().map(str::to_owned),
        || warnings(&folder),
    );
    let event: Value = serde_json::from_str(&line).unwrap();
    let copy = event["dataref"].as_str().unwrap();
    let copy = Path::new(copy.strip_prefix("file://").unwrap());
    let copies = folder.path().canonicalize().unwrap().join("copies");
    assert!(copy.canonicalize().unwrap().starts_with(copies), "{copy:?}");
    assert_eq!(fs::read(copy).unwrap(), fs::read(path).unwrap());
    assert_eq!(warnings(&folder), "");
    assert!(running.stop().success());
}
