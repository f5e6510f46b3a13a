//! File descriptors: how many this process may have, and how many of them connections from outside may take.
//!
//! A store that gets none cannot begin its next segment, and nothing more becomes durable. So a part of them is kept from connections: more of
//! those wait in the kernel's queue.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What connections leave to stores, databases, brokers and folders.
pub(crate) const KEPT: u64 = 512;
/// No more are asked for.
const MOST: u64 = 65_536;
/// Connections that are taken however few descriptors there are.
const FEWEST_CONNECTIONS: usize = 16;
/// With fewer descriptors, an operator is told.
const ENOUGH: u64 = 2 * KEPT;

/// Raises the limit as far as this user may, to at most 65,536, and says so in the log if that is little.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST).min(MOST);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        // It stays as it is where that is forbidden.
        let _refused = setrlimit(Resource::Nofile, raised);
    }
    let limit = limit_now();
    if limit < ENOUGH {
        tracing::warn!(
            limit,
            kept = KEPT,
            connections = connections_of(limit, usize::MAX),
            "few files may be open: only so many connections are taken at once; raise the limit (`ulimit -n 65536`, `LimitNOFILE=65536`)"
        );
    }
}

/// How many connections from outside may be open at once: `most`, or fewer if there are not enough descriptors.
#[must_use]
pub(crate) fn for_connections(most: usize) -> usize {
    connections_of(limit_now(), most)
}

fn limit_now() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn connections_of(limit: u64, most: usize) -> usize {
    let left = usize::try_from(limit.saturating_sub(KEPT)).unwrap_or(usize::MAX);
    left.max(FEWEST_CONNECTIONS).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_is_left() {
        assert_eq!(connections_of(65_536, 10_000), 10_000);
        assert_eq!(connections_of(1_024, 10_000), 512);
        assert_eq!(connections_of(600, 10_000), 88);
        assert_eq!(connections_of(256, 10_000), FEWEST_CONNECTIONS);
        assert_eq!(connections_of(u64::MAX, 10_000), 10_000);
    }
}
