//! Random scripts against the real file system, and a reference model that says what must have been published.
//!
//! A round does something to the folder, perhaps crashes the source and starts it again, and waits until everything is at rest. Then
//! the events must be those of the model: each content version of a path exactly once, the same bytes under another name not at all,
//! and a return to earlier bytes as a version of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{Bench, data, scaled, subject};

/// What a reference implementation knows.
#[derive(Default)]
struct Model {
    /// Last content at each path.
    last: BTreeMap<String, String>,
    /// Who had a content first.
    first: BTreeMap<String, String>,
    /// Every event so far: path and text.
    events: Vec<(String, String)>,
}

impl Model {
    /// What lay in the folder at rest, and the events since the last call.
    fn check(&mut self, now: &BTreeMap<String, String>, events: Vec<(String, String)>, log: &str) {
        let mut changed: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for (path, content) in now {
            if self.last.get(path) != Some(content) {
                changed.entry(content).or_default().insert(path);
            }
        }
        let mut left: Vec<_> = events.clone();
        for (content, paths) in changed {
            let of_content: Vec<String> = left
                .extract_if(.., |(_, text)| text == content)
                .map(|(path, _)| path)
                .collect();
            let distinct: BTreeSet<&String> = of_content.iter().collect();
            assert_eq!(
                distinct.len(),
                of_content.len(),
                "twice: {content:?} {of_content:?}\n{log}"
            );
            if content.is_empty() {
                assert_eq!(distinct, paths, "empty files\n{log}");
            } else if let Some(first) = self.first.get(content) {
                let expected: BTreeSet<&String> =
                    paths.iter().copied().filter(|p| *p == first).collect();
                assert_eq!(distinct, expected, "{content:?}, first at {first}\n{log}");
            } else {
                assert_eq!(
                    of_content.len(),
                    1,
                    "{content:?} at {paths:?}: {of_content:?}\n{log}"
                );
                assert!(
                    paths.contains(&of_content[0]),
                    "{content:?} at {paths:?}\n{log}"
                );
                self.first.insert(content.clone(), of_content[0].clone());
            }
        }
        assert!(left.is_empty(), "made up: {left:?}\n{log}");
        self.last.extend(now.clone());
        self.events.extend(events);
    }
}

struct Script {
    bench: Bench,
    /// Content of every file that lies in the folder, as it was written.
    now: BTreeMap<String, String>,
    /// Paths of this round: what is between two versions of a path may be published or not, so each has only one.
    touched: BTreeSet<String>,
    /// Files that are still being written, and what is missing of them.
    open: Vec<(fs::File, String)>,
    seen: usize,
    model: Model,
    random: fastrand::Rng,
    log: String,
    moves: bool,
}

fn is_linked(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::symlink_metadata(path).is_ok_and(|m| m.nlink() > 1 || m.is_symlink())
}

const FOLDERS: [&str; 5] = ["", "in/", "in/deep/", "in/deep/er/", "ä b/"];

impl Script {
    fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    fn pick(&mut self) -> Option<String> {
        let at_rest = |name: &&String| !self.touched.contains(*name);
        let names: Vec<_> = self.now.keys().filter(at_rest).cloned().collect();
        let name = self.random.choice(names)?;
        self.touched.insert(name.clone());
        Some(name)
    }

    fn name(&mut self) -> String {
        let folder = self.random.choice(FOLDERS).unwrap();
        format!("{folder}f{}", self.random.u8(0..12))
    }

    /// Mostly new bytes, sometimes those of an earlier file, sometimes none.
    fn content(&mut self) -> String {
        match self.random.u8(0..10) {
            0 => String::new(),
            1..4 => {
                let old: Vec<_> = self.model.first.keys().cloned().collect();
                self.random.choice(old).unwrap_or_else(|| "first".into())
            }
            _ => {
                let line = format!("{:016x} ", self.random.u64(..));
                line.repeat(self.random.usize(1..40))
            }
        }
    }

    fn write(&mut self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Writing in place changes all names of a file.
        if path.is_dir() || is_linked(&path) {
            return;
        }
        fs::write(&path, content).unwrap();
        self.now.insert(name.to_owned(), content.to_owned());
    }

    /// One thing that happens to a folder.
    fn step(&mut self) {
        let name = self.name();
        if !self.touched.insert(name.clone()) {
            return;
        }
        let content = self.content();
        let kind = self.random.u8(0..14);
        self.log
            .push_str(&format!("{kind} {name:?} {:.20?}\n", content));
        match kind {
            // Written in pieces, and held open over whatever comes next.
            0 if !is_linked(&self.path(&name)) => {
                let path = self.path(&name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let mut file = fs::File::create(&path).unwrap();
                let (piece, rest) = content.split_at(content.len() / 3);
                file.write_all(piece.as_bytes()).unwrap();
                self.open.push((file, rest.to_owned()));
                self.now.insert(name, content);
            }
            // Under a temporary name, then renamed: a rename replaces what was there.
            1 | 2 => {
                let part = self.path(&format!("{name}.part"));
                fs::create_dir_all(part.parent().unwrap()).unwrap();
                fs::write(&part, &content).unwrap();
                fs::rename(part, self.path(&name)).unwrap();
                self.now.insert(name, content);
            }
            // From outside.
            3 => {
                let outside = self.bench.inbox.path().with_extension("outside");
                fs::write(&outside, &content).unwrap();
                let path = self.path(&name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::rename(outside, path).unwrap();
                self.now.insert(name, content);
            }
            // Away, and within.
            4 => {
                if let Some(old) = self.pick()
                    && !self.now.contains_key(&name)
                    && !is_linked(&self.path(&old))
                {
                    let path = self.path(&name);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::rename(self.path(&old), path).unwrap();
                    let content = self.now.remove(&old).unwrap();
                    self.now.insert(name, content);
                }
            }
            5 => {
                if let Some(old) = self.pick() {
                    fs::remove_file(self.path(&old)).unwrap();
                    self.now.remove(&old);
                }
            }
            // Truncated in place.
            6 => {
                if let Some(old) = self.pick()
                    && !is_linked(&self.path(&old))
                {
                    let half = self.now[&old].len() / 2;
                    let file = fs::File::options()
                        .write(true)
                        .open(self.path(&old))
                        .unwrap();
                    file.set_len(half as u64).unwrap();
                    let content = self.now[&old][..half].to_owned();
                    self.now.insert(old, content);
                }
            }
            7 => {
                if let Some(old) = self.pick()
                    && !self.now.contains_key(&name)
                    && !is_linked(&self.path(&old))
                {
                    let path = self.path(&name);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::hard_link(self.path(&old), path).unwrap();
                    let content = self.now[&old].clone();
                    self.now.insert(name, content);
                }
            }
            // A link out of the folder is nothing.
            8 => {
                let link = self.path(&format!("{name}.link"));
                if link.parent().unwrap().exists() && !link.is_symlink() {
                    symlink("/etc/passwd", link).unwrap();
                }
            }
            // A whole tree is made, or goes.
            9 => {
                for n in 0..3 {
                    let content = format!("{content}{n}");
                    let name = format!("tree/{n}/x/f{n}");
                    if self.touched.insert(name.clone()) {
                        self.write(&name, &content);
                    }
                }
            }
            10 => {
                let tree = self.random.choice(["tree/", "in/deep/"]).unwrap();
                let touched = self.touched.iter().any(|path| path.starts_with(tree));
                if self.path(tree).exists() && !touched {
                    fs::remove_dir_all(self.path(tree)).unwrap();
                    self.now.retain(|path, _| !path.starts_with(tree));
                }
            }
            _ => self.write(&name, &content),
        }
    }

    /// Writes the rest of the files that are open: at once, or when whole scans went over their halves.
    async fn finish_writing(&mut self) {
        if self.open.is_empty() {
            return;
        }
        if self.bench.is_running() && self.random.bool() {
            self.bench.scanned(2).await;
        }
        for (mut file, rest) in self.open.drain(..) {
            let (piece, rest) = rest.split_at(rest.len() / 2);
            file.write_all(piece.as_bytes()).unwrap();
            file.write_all(rest.as_bytes()).unwrap();
        }
    }

    async fn round(&mut self) {
        self.touched.clear();
        let crash = self.random.u8(0..4);
        self.log.push_str(&format!("-- round, crash {crash}\n"));
        if crash == 0 {
            self.bench.stop().await;
        }
        if crash == 1 {
            self.bench.world.lanes.hold();
        }
        let root_away = self.random.u8(0..8) == 0;
        let away = self.bench.inbox.path().with_extension("away");
        for _ in 0..self.random.u8(1..4) {
            self.step();
        }
        if root_away {
            self.log.push_str("-- the root goes and comes\n");
            fs::rename(self.bench.inbox.path(), &away).unwrap();
            if self.bench.is_running() && self.random.bool() {
                self.bench
                    .until("the source to miss its root", |bench| {
                        let warnings = bench.warnings();
                        warnings.keys().any(|key| key.starts_with("missing:"))
                    })
                    .await;
            }
            fs::rename(&away, self.bench.inbox.path()).unwrap();
        }
        self.finish_writing().await;
        match crash {
            0 => self.bench.start(),
            1 => {
                // Sent, and perhaps partly durable, when the power goes.
                if self.random.bool() {
                    self.bench.sent().await;
                }
                self.bench
                    .world
                    .lanes
                    .release_up_to(self.random.usize(0..3));
                self.bench.crash().await;
                self.bench.world.lanes.release();
                self.bench.start();
            }
            2 => {
                // Before it has seen much, in the middle, or near the end.
                self.bench.scanned(self.random.u64(0..3)).await;
                self.bench.crash().await;
                self.bench.start();
            }
            _ => {}
        }
        self.bench.settled().await;
        if self.moves {
            self.bench
                .until("all files to be put away", |bench| {
                    self.now.keys().all(|path| !bench.path(path).exists())
                })
                .await;
        }
        let events = self.bench.events();
        let new = events[self.seen..]
            .iter()
            .map(|event| {
                let text = data(event)["text"].as_str().unwrap().to_owned();
                (subject(event), text)
            })
            .collect();
        self.seen = events.len();
        self.model.check(&self.now, new, &self.log);
        if self.moves {
            self.now.clear();
        }
    }
}

async fn run(settings: Value, moves: bool) {
    let seed = std::env::var("HEADGATE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    let mut script = Script {
        bench: Bench::started(settings),
        now: BTreeMap::new(),
        touched: BTreeSet::new(),
        open: Vec::new(),
        seen: 0,
        model: Model::default(),
        random: fastrand::Rng::with_seed(seed),
        log: format!("HEADGATE_TEST_SEED={seed}\n"),
        moves,
    };
    for _ in 0..scaled(25, 400) {
        script.round().await;
    }
    assert!(
        script.model.events.len() > 10,
        "the script did nothing\n{}",
        script.log
    );
    let ids: BTreeSet<_> = script
        .bench
        .events()
        .into_iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(
        ids.len(),
        script.model.events.len(),
        "an id was given twice\n{}",
        script.log
    );
    script.bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_script_with_events() {
    run(json!({ "content": "inline" }), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_script_by_polling() {
    run(
        json!({ "content": "inline", "watch": "poll", "poll_interval": "50ms" }),
        false,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_script_with_files_that_move() {
    run(json!({ "content": "inline", "afterwards": "move" }), true).await;
}

/// A share that is really unmounted, written to elsewhere, and mounted again.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_unmounted_and_mounted_again() {
    use rustix::mount::{UnmountFlags, mount_bind, unmount};
    let share = tempfile::tempdir().unwrap();
    let bench = Bench::new(json!({ "content": "inline" }));
    let root = bench.inbox.path().to_owned();
    fs::write(share.path().join("a"), "1").unwrap();
    mount_bind(share.path(), &root)
        .unwrap_or_else(|error| panic!("this test mounts: run it as root ({error})"));
    let mut bench = bench;
    bench.start();
    bench.until_events(1).await;
    unmount(&root, UnmountFlags::empty())
        .expect("watching does not keep a share from being unmounted");
    // The empty folder below is there all the time; what is dropped now lies on the other side.
    fs::write(share.path().join("b"), "2").unwrap();
    bench.settled().await;
    assert_eq!(bench.subjects(), ["a"]);
    mount_bind(share.path(), &root).unwrap();
    bench.until_events(2).await;
    fs::write(root.join("c"), "3").unwrap();
    bench.until_events(3).await;
    bench.settled().await;
    assert_eq!(bench.subjects(), ["a", "b", "c"]);
    bench.stop().await;
    unmount(&root, UnmountFlags::DETACH).unwrap();
}
