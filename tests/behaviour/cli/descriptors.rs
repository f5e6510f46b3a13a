//! Few file descriptors, and more connections than there are.

use std::{net::TcpStream, process::Command};

use super::process::{Folder, PROGRAM, free_port, wait};

/// Connections that do nothing leave to stores and sources what these need.
#[test]
fn connections_wait_before_stores_and_sources_do() {
    let (http, admin) = (free_port(), free_port());
    let folder = Folder::with(&format!(
        r#"http: {{ listen: 127.0.0.1:{http} }}
admin: {{ listen: 127.0.0.1:{admin} }}
sources:
  inbox: {{ type: files, paths: [./inbox], settle: 50ms, scan_interval: 1s }}
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}
"#
    ));
    folder.write("inbox/first.txt", "hello");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 600; exec \"$0\" run", PROGRAM])
        .current_dir(folder.path());
    let running = folder.start_with(command);
    running.said.wait_for("few files may be open");
    let delivered = |name: &str| {
        let tail = folder.run(&["tail", "--from-start", "--no-follow"]);
        tail.stdout.contains(name).then_some(())
    };
    wait(|| delivered("first.txt"), || running.said.text());
    let before = running.descriptors();
    // 600 less what is kept is 88; the others wait in the kernel's queue.
    let idle: Vec<TcpStream> = (0..150)
        .map(|_| TcpStream::connect(("127.0.0.1", http)).unwrap())
        .collect();
    wait(
        || (running.descriptors() >= before + 80).then_some(()),
        || format!("{} of {before}", running.descriptors()),
    );
    folder.write("inbox/second.txt", "and again");
    wait(|| delivered("second.txt"), || running.said.text());
    let now = running.descriptors();
    assert!(now < before + 120, "{now} instead of {before}");
    drop(idle);
    let sent = || {
        let body = ["webhook", "send", "--source", "hooks", "--body", "{}"];
        (folder.run(&body).code == Some(0)).then_some(())
    };
    wait(sent, || running.said.text());
    assert!(running.stop().success());
}
