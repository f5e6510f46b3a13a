//! The SDK's suite, in the three ways in which files become events: whole files, their records, and what is appended.

use std::{fs, io::Write as _, ops::Range, path::PathBuf};

use headgate_files::Files;
use headgate_sdk::{
    Envelope,
    conformance::{Subject, World, passes},
};
use serde_json::{Value, json};

fn bad_configs() -> Vec<(&'static str, Value)> {
    vec![
        ("no folder", json!({ "paths": [] })),
        (
            "an unknown key",
            json!({ "paths": ["/in"], "colour": "red" }),
        ),
        ("a bad glob", json!({ "paths": ["/in"], "include": ["[a"] })),
        (
            "overlapping folders",
            json!({ "paths": ["/in", "/in/below"] }),
        ),
        (
            "appended files that move",
            json!({ "paths": ["/in"], "mode": "append", "afterwards": "move", "records": { "format": "lines" } }),
        ),
    ]
}

struct WholeFiles {
    inbox: tempfile::TempDir,
    afterwards: &'static str,
}

impl Subject for WholeFiles {
    type Connector = Files;

    fn config(&self) -> Value {
        json!({
            "paths": [self.inbox.path()],
            "settle": "150ms",
            "scan_interval": "2s",
            "content": "inline",
            "afterwards": self.afterwards,
        })
    }

    fn bad_configs(&self) -> Vec<(&'static str, Value)> {
        bad_configs()
    }

    async fn produce(&mut self, numbers: Range<u64>, _world: &World) {
        for number in numbers {
            let path = self.inbox.path().join(format!("{number:06}.txt"));
            fs::write(path, number.to_string()).unwrap();
        }
    }

    fn number(&self, event: &Envelope) -> Option<u64> {
        let data: Value = serde_json::from_slice(event.data.bytes()?).ok()?;
        data["text"].as_str()?.parse().ok()
    }
}

struct AppendedLines {
    inbox: tempfile::TempDir,
}

impl Subject for AppendedLines {
    type Connector = Files;

    fn config(&self) -> Value {
        json!({
            "paths": [self.inbox.path()],
            "settle": "20ms",
            "mode": "append",
            "records": { "format": "json_lines" },
        })
    }

    fn bad_configs(&self) -> Vec<(&'static str, Value)> {
        bad_configs()
    }

    async fn produce(&mut self, numbers: Range<u64>, _world: &World) {
        let path: PathBuf = self.inbox.path().join("app.log");
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        for number in numbers {
            writeln!(log, "{{\"number\":{number}}}").unwrap();
        }
    }

    fn number(&self, event: &Envelope) -> Option<u64> {
        let data: Value = serde_json::from_slice(event.data.bytes()?).ok()?;
        data["number"].as_u64()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_files_that_stay() {
    passes(async || WholeFiles {
        inbox: tempfile::tempdir().unwrap(),
        afterwards: "leave",
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_files_that_move() {
    passes(async || WholeFiles {
        inbox: tempfile::tempdir().unwrap(),
        afterwards: "move",
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn appended_records() {
    passes(async || AppendedLines {
        inbox: tempfile::tempdir().unwrap(),
    })
    .await;
}
