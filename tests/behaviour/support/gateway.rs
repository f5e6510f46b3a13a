//! The real binary, started and killed as an operator and a power cut do it.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::Value;

use super::{http::Client, ports::free_port};

/// The longest that a start, a stop or a delivery may take: generous, on a machine that is busy with other tests too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// A folder with a configuration, in which a gateway is run again and again.
pub(crate) struct Place {
    folder: PathBuf,
    http: SocketAddr,
    admin: SocketAddr,
}

/// A running gateway. It is killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Place {
    /// Writes a configuration of `sections` (sources, pipelines, sinks) into `folder`.
    pub(crate) fn new(folder: &Path, sections: &str) -> Self {
        let [http, admin] = [(); 2].map(|()| (Ipv4Addr::LOCALHOST, free_port()).into());
        let place = Self {
            folder: folder.to_owned(),
            http,
            admin,
        };
        place.configure(sections);
        place
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, sections: &str) {
        let (http, admin, data) = (self.http, self.admin, self.folder.join("data"));
        let mut file = fs::File::create(self.file()).unwrap();
        write!(
            file,
            "data_dir: {}\nhttp: {{ listen: \"{http}\" }}\nadmin: {{ listen: \"{admin}\" }}\n{sections}",
            data.display()
        )
        .unwrap();
    }

    /// Where the admin API listens.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("headgate.yaml")
    }

    /// Runs another command of the binary on this configuration and returns what it printed.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_headgate"))
            .args(arguments)
            .arg("-c")
            .arg(self.file())
            .output()
            .unwrap()
    }

    /// Starts a gateway and waits until all of its sources are ready. A server may hold what a killed one had (a slot) as long as
    /// it works for it, which with large counts is minutes.
    pub(crate) async fn start(&self) -> Running {
        let mut running = self.launch(None);
        let started = Instant::now();
        let deadline = DEADLINE * u32::try_from(super::scale(1, 10)).unwrap();
        loop {
            if let Some(status) = running.ended() {
                panic!("the gateway ended with {status}: {}", self.log());
            }
            if running.is_ready().await {
                return running;
            }
            if started.elapsed() > deadline {
                let state = running.readiness().await;
                panic!("the gateway did not get ready: {state:?}\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts a gateway, which may come to an end of its own at a failpoint (`place:times`).
    pub(crate) fn launch(&self, failpoint: Option<&str>) -> Running {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("stderr.log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        if let Some(failpoint) = failpoint {
            command.env("HEADGATE_FAILPOINT", failpoint);
        }
        let child = command
            .args(["run", "-c"])
            .arg(self.file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Running {
            child,
            http: self.http,
            admin: self.admin,
        }
    }

    /// What the gateway wrote to its standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("stderr.log")).unwrap_or_default()
    }

    /// Everything in the embedded log: one structured event each.
    pub(crate) fn tail(&self) -> Vec<Value> {
        self.lines(&["tail", "--json", "--from-start", "--no-follow"])
    }

    /// Waits until the embedded log has so many events; with them, there may be more.
    pub(crate) async fn logged(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        self.until("logged", async || {
            events = self.tail();
            events.len() >= count
        })
        .await;
        events
    }

    /// The dead letters that wait.
    pub(crate) fn letters(&self) -> Vec<Value> {
        self.lines(&["dead-letters", "list", "--json"])
    }

    /// Runs a command that must succeed, and whose lines are JSON.
    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < DEADLINE, "not {what}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Running {
    /// The state of the gateway, from `/readyz`.
    pub(crate) async fn readiness(&self) -> Option<Value> {
        let mut client = Client::connect(self.admin).await?;
        let (_, body) = client.get("/readyz").await?;
        serde_json::from_slice(&body).ok()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let Some(state) = self.readiness().await else {
            return false;
        };
        let sources = state["sources"].as_array().cloned().unwrap_or_default();
        state["ready"] == true && sources.iter().all(|source| source["state"] == "ready")
    }

    /// Gives the webhook source `hooks`, which is of scheme `gitlab-token`, an event; `None` if nobody answers.
    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Option<StatusCode> {
        let mut client = Client::connect(self.http).await?;
        let headers = [
            ("x-gitlab-token", "s3cret"),
            ("content-type", "application/json"),
        ];
        let (status, _) = client.post("/webhook/hooks", &headers, body).await?;
        Some(status)
    }

    /// The same; it must be accepted.
    pub(crate) async fn send(&self, body: impl Into<Bytes>) {
        assert_eq!(self.post(body).await, Some(StatusCode::ACCEPTED));
    }

    /// A page of the admin API.
    pub(crate) async fn page(&self, path: &str) -> String {
        let mut client = Client::connect(self.admin).await.unwrap();
        let (_, text) = client.get(path).await.unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }

    /// The most memory that it had so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() << 10
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// SIGTERM, and waits until it has drained.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.terminate();
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(asked.elapsed() < DEADLINE, "the gateway did not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}
