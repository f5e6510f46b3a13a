//! Runs the program in a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use crate::support::ports::free_port;

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(180);

/// The program under test.
pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_headgate");

/// A folder in which commands are run.
pub(super) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A folder with a configuration.
    pub(super) fn with(config: &str) -> Self {
        let folder = Self::new();
        folder.write("headgate.yaml", config);
        folder
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_remove("HEADGATE_LOG");
        command
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(
            self.command(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    }

    /// Runs a line of shell to its end.
    pub(super) fn shell(&self, line: &str) -> Ended {
        let mut command = Command::new("sh");
        Ended::of(
            command
                .args(["-c", line])
                .current_dir(self.path())
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    }

    /// Starts `headgate run` and waits until it runs.
    pub(super) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(&["run"]);
        command.args(arguments);
        self.start_with(command)
    }

    /// Starts a gateway by a command of one's own and waits until it runs.
    pub(super) fn start_with(&self, mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Said::listen(child.stderr.take().unwrap());
        let running = Running { child, said };
        running.said.wait_for("running");
        running
    }
}

/// How a command ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Expects an exit code; shows everything otherwise.
    #[track_caller]
    pub(super) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "standard output:\n{}\nstandard error:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// A gateway that runs. It is killed when dropped.
pub(super) struct Running {
    child: Child,
    pub(super) said: Said,
}

impl Running {
    /// Sends a signal by its name.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// How many file descriptors it has now.
    pub(super) fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.unwrap().count()
    }

    /// Asks it to stop and waits until it has.
    pub(super) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        wait(
            || self.child.try_wait().unwrap(),
            || format!("it did not stop:\n{}", self.said.text()),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What a process has said on standard error so far.
#[derive(Clone)]
pub(super) struct Said(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Said {
    fn listen(from: impl std::io::Read + Send + 'static) -> Self {
        let said = Self(Arc::default());
        let heard = said.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(line) = line else { break };
                heard.note(|(text, _)| {
                    text.push_str(&line);
                    text.push('\n');
                });
            }
            heard.note(|(_, ended)| *ended = true);
        });
        said
    }

    fn note(&self, change: impl FnOnce(&mut (String, bool))) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    pub(super) fn text(&self) -> String {
        self.0.0.lock().unwrap().0.clone()
    }

    /// Waits until it has said `wanted`.
    #[track_caller]
    pub(super) fn wait_for(&self, wanted: &str) {
        let waiting = |said: &mut (String, bool)| !said.0.contains(wanted) && !said.1;
        let (said, _) = self
            .0
            .1
            .wait_timeout_while(self.0.0.lock().unwrap(), DEADLINE, waiting)
            .unwrap();
        assert!(
            said.0.contains(wanted),
            "it never said `{wanted}`:\n{}",
            said.0
        );
    }
}

/// Asks until there is an answer.
#[track_caller]
pub(super) fn wait<T>(mut ask: impl FnMut() -> Option<T>, complain: impl FnOnce() -> String) -> T {
    let give_up = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < give_up, "{}", complain());
        thread::park_timeout(Duration::from_millis(20));
    }
}
