//! A server of a test's own, to be stopped, promoted, and configured as no shared one can be.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::server;

const PASSWORD: &str = "headgate";

/// A cluster in a folder of its own. It ends with the test.
pub(crate) struct Cluster {
    bin: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
}

impl Cluster {
    /// Makes and starts one with the programs that `variable` (`POSTGRES_BIN`, `POSTGRES18_BIN`) names. `options` are settings as
    /// `name=value`.
    pub(crate) fn start(variable: &str, options: &[&str]) -> Self {
        let cluster = Self::empty(PathBuf::from(server(variable)), options);
        let password = cluster.folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        cluster.command("initdb", |command| {
            command
                .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"])
                .args(["--locale=C", "--no-sync"])
                .arg(format!("--pwfile={}", password.display()))
        });
        cluster.run();
        cluster
    }

    /// A standby of this one, which is stopped for a moment to be copied. `options` are those of the standby.
    pub(crate) fn standby(&self, options: &[&str]) -> Self {
        self.stop();
        let standby = Self::empty(self.bin.clone(), options);
        let copied = Command::new("cp")
            .arg("-a")
            .args([self.data(), standby.data()])
            .status();
        assert!(copied.unwrap().success());
        fs::write(standby.data().join("standby.signal"), "").unwrap();
        self.run();
        standby.run();
        standby
    }

    /// How a standby reaches this one.
    pub(crate) fn connection(&self) -> String {
        format!(
            "primary_conninfo=host=127.0.0.1 port={} user=postgres password={PASSWORD} dbname=postgres",
            self.port
        )
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// The same through its socket, which asks for no TLS.
    pub(crate) fn socket_url(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!(
            "postgres://postgres:{PASSWORD}@{folder}:{}/postgres",
            self.port
        )
    }

    /// Copies a file into its folder that nobody else reads.
    pub(crate) fn install(&self, from: &Path, name: &str) {
        let to = self.data().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = owner() {
            std::os::unix::fs::chown(&to, Some(user), Some(group)).unwrap();
        }
    }

    /// Adds a line to its configuration, for the next start.
    pub(crate) fn configure(&self, line: &str) {
        let file = self.data().join("postgresql.conf");
        fs::write(&file, format!("{}\n{line}\n", read(&file))).unwrap();
    }

    /// Leaves the socket, replication, and what `line` says, for the next start or reload.
    pub(crate) fn allow(&self, line: &str) {
        let file = self.data().join("pg_hba.conf");
        fs::write(&file, format!("local all all scram-sha-256\n{line}\n")).unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it (again).
    pub(crate) fn run(&self) {
        let mut options = format!(
            "-h 127.0.0.1,127.0.0.2 -p {} -k {} -c fsync=off -c max_replication_slots=20 -c max_wal_senders=20",
            self.port,
            self.folder.path().display()
        );
        for option in &self.options {
            options.push_str(&format!(" -c '{option}'"));
        }
        self.command("pg_ctl", |command| {
            command
                .args(["-w", "-t", "60", "-o", &options, "-l"])
                .arg(self.log())
                .arg("start")
        });
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(&self) {
        self.command("pg_ctl", |command| {
            command.args(["-w", "-m", "fast", "stop"])
        });
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(&self) {
        self.command("pg_ctl", |command| {
            command.args(["-w", "-m", "immediate", "stop"])
        });
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        self.command("pg_ctl", |command| command.args(["-w", "promote"]));
    }

    fn empty(bin: PathBuf, options: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("headgate-postgres-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((user, group)) = owner() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        Self {
            bin,
            folder,
            port: free_port(),
            options: options.iter().map(|&o| o.to_owned()).collect(),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn command(&self, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-D").arg(self.data()).current_dir("/");
        // What it starts must not keep a pipe of ours open.
        let output = self.folder.path().join("output");
        command.stdout(fs::File::create(&output).unwrap());
        command.stderr(fs::File::options().append(true).open(&output).unwrap());
        arguments(&mut command);
        if let Some((user, group)) = owner() {
            command.uid(user).gid(group);
        }
        let status = command.status().unwrap();
        assert!(
            status.success(),
            "{program}: {}\n{}",
            read(&output),
            read(&self.log())
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", read(&self.log()));
        }
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.arg("-D").arg(self.data()).current_dir("/");
        command.args(["-w", "-m", "immediate", "stop"]);
        if let Some((user, group)) = owner() {
            command.uid(user).gid(group);
        }
        let _stopped_already = command.output();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Postgres refuses to run as root: then it runs as `postgres`, or as `nobody` where that user does not exist.
fn owner() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let output = Command::new("id").arg("-u").output().unwrap();
    let is_root = output.stdout.trim_ascii() == b"0";
    is_root.then(|| ids("postgres").or_else(|| ids("nobody")).unwrap())
}

/// A port below those that the kernel gives to outgoing connections, so that nobody connects to itself while the server is away.
fn free_port() -> u16 {
    use std::{
        net::TcpListener,
        sync::atomic::{AtomicU16, Ordering},
    };
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 5_000).unwrap();
    loop {
        let port = 15_000 + (first + NEXT.fetch_add(7, Ordering::Relaxed)) % 5_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until a standby has replayed everything that its primary has written.
pub(crate) async fn caught_up(primary: &tokio_postgres::Client, standby: &tokio_postgres::Client) {
    let end = super::rows(primary, "SELECT pg_current_wal_lsn()").await[0][0]
        .clone()
        .unwrap();
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'");
    super::until("the standby's replay", async || {
        (super::rows(standby, &sql).await[0][0].as_deref() == Some("t")).then_some(())
    })
    .await;
}
