//! Loopback ports for gateways, which listen on them again after a stop or a crash.

use std::{
    fs::{self, File},
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below those that the kernel gives to outgoing connections, and beside those of `scripts/services` and of the connectors'
/// tests: while a gateway is away, nobody is given its port.
const FIRST: u16 = 10_000;
const COUNT: u16 = 5_000;

/// A port that nobody listens on, and that no other test takes, in this process or another, as long as this process lives.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let user = rustix::process::getuid().as_raw();
    let claims = std::env::temp_dir().join(format!("headgate-test-ports-{user}"));
    fs::create_dir_all(&claims).unwrap();
    // Processes begin at places of their own.
    let first = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let port = FIRST + (first + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        let claim = File::options()
            .create(true)
            .append(true)
            .open(claims.join(port.to_string()))
            .unwrap();
        let is_ours = claim.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_ours {
            // The lock ends with the process.
            std::mem::forget(claim);
            return port;
        }
    }
    panic!("all of {COUNT} ports are taken");
}
