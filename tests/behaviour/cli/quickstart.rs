//! The README's own commands, run as they stand there. Only the ports are others, so that tests can run beside each other, and
//! the program is the one under test.

use std::path::Path;

use super::process::{Folder, PROGRAM, free_port, wait};

/// The lines of the `sh` blocks of the README's section `heading`.
fn commands(heading: &str) -> Vec<String> {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let mut commands = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.is_empty() && !line.starts_with('#') => {
                commands.push(line.to_owned())
            }
            _ => {}
        }
    }
    commands
}

struct Quickstart {
    folder: Folder,
    http: u16,
    admin: u16,
}

impl Quickstart {
    fn new() -> Self {
        let quickstart = Self {
            folder: Folder::new(),
            http: free_port(),
            admin: free_port(),
        };
        let config = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("config/quickstart.yaml"),
        )
        .unwrap();
        quickstart
            .folder
            .write("config/quickstart.yaml", &quickstart.adapt(&config));
        quickstart
    }

    /// A text of the README or the configuration, with this test's ports and program.
    fn adapt(&self, text: &str) -> String {
        text.replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.http))
            .replace("127.0.0.1:9600", &format!("127.0.0.1:{}", self.admin))
            .replace("target/release/headgate", PROGRAM)
    }

    /// Runs commands and then waits until the log holds both events.
    fn run(&self, commands: &[String]) {
        for command in commands {
            let ended = self.folder.shell(&self.adapt(command));
            assert_eq!(
                ended.code,
                Some(0),
                "{command}\n{}{}",
                ended.stdout,
                ended.stderr
            );
        }
        let tail = || {
            self.folder
                .run(&[
                    "tail",
                    "-c",
                    "config/quickstart.yaml",
                    "--from-start",
                    "--no-follow",
                ])
                .expect(0)
                .stdout
        };
        wait(
            || {
                Some(tail()).filter(|log| {
                    log.contains("urn:headgate:default:webhook:hello")
                        && log.contains("urn:headgate:default:files:inbox")
                })
            },
            || format!("the log holds not both events:\n{}", tail()),
        );
    }
}

#[test]
fn the_quickstart_works_as_written() {
    let quickstart = Quickstart::new();
    let commands = commands("Begin");
    assert!(commands[0].starts_with("make run") && commands[1].starts_with("make test"));
    let makefile =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    assert!(
        makefile.contains("CONFIG ?= config/quickstart.yaml")
            && makefile.contains(" run -c $(CONFIG)"),
        "make run runs the quickstart"
    );

    let running = quickstart
        .folder
        .start(&["-c", "config/quickstart.yaml", "--examples"]);
    // The last one follows the log: it is run with an end.
    let (tail, before) = commands[2..].split_last().unwrap();
    quickstart.run(before);
    let shown = quickstart
        .folder
        .shell(&(quickstart.adapt(tail) + " --no-follow"))
        .expect(0)
        .stdout;
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(running.stop().success());
}

#[test]
fn what_run_prints_can_be_pasted() {
    let quickstart = Quickstart::new();
    let running = quickstart
        .folder
        .start(&["-c", "config/quickstart.yaml", "--examples"]);
    running.said.wait_for("# see what arrived");
    running.said.wait_for(" tail ");
    let text = running.said.text().replace("\\\n", " ");
    let printed: Vec<String> = text
        .lines()
        .skip_while(|line| !line.starts_with("Try it"))
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let (tail, before) = printed.split_last().unwrap();
    assert!(tail.contains(" tail "), "{printed:?}");
    let has = |what: &str| before.iter().any(|command| command.contains(what));
    assert!(
        has("webhook send") && has("curl") && has("inbox"),
        "{printed:?}"
    );
    quickstart.run(before);
    assert!(running.stop().success());
}
