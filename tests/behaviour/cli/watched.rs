//! What an operator is told of watched folders: `headgate files status`.

use std::{
    fs::{self, File},
    io::Write as _,
};

use serde_json::Value;

use super::process::{Ended, Folder, free_port, wait};

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
