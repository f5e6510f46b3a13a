//! What an error of the server or the driver means for a stream.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind};

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Open the stream again where it was, after a while.
    Resume,
    /// The changes since the position are gone.
    HistoryLost,
    /// The next event is larger than a reply may be.
    TooLarge,
    /// The server does not know something that the stream was opened with.
    NotSupported,
    /// Nothing helps until somebody acts; see [`advice`].
    Stop,
    /// Unknown: start over with the supervisor's backoff.
    Restart,
}

/// Where an error came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Opening the stream.
    Open,
    /// Reading on.
    Next,
}

/// The label with which a server (4.4 and later) marks errors that resuming mends.
const RESUMABLE: &str = "ResumableChangeStreamError";

/// Codes that the drivers' change stream specification counts as resumable where there are no labels.
const RESUMABLE_CODES: [i32; 18] = [
    6, 7, 43, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
];
const HISTORY_LOST: [i32; 3] = [280, 286, 464];
/// A token that the server cannot use: only where it was offered.
const TOKEN_REFUSED: [i32; 2] = [260, 50811];
pub(crate) const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
/// No image of the document as it was, although images are required.
const NO_MATCHING_DOCUMENT: i32 = 47;
const NAMESPACE_NOT_FOUND: i32 = 26;
const QUERY_PLAN_KILLED: i32 = 175;
const CURSOR_KILLED: i32 = 237;
const OBJECT_TOO_LARGE: i32 = 10334;
pub(crate) const UNRECOGNIZED_STAGE: i32 = 40324;
pub(crate) const UNKNOWN_FIELD: i32 = 40415;
/// `$changeStream` on a server that is no member of a replica set.
const NO_REPLICA_SET: i32 = 40573;

/// What `error` means.
pub(crate) fn classify(error: &Error, phase: Phase) -> Failure {
    let labelled = error.contains_label(RESUMABLE);
    match code(error) {
        Some(code) if HISTORY_LOST.contains(&code) => Failure::HistoryLost,
        Some(code) if phase == Phase::Open && TOKEN_REFUSED.contains(&code) => Failure::HistoryLost,
        Some(OBJECT_TOO_LARGE) => Failure::TooLarge,
        Some(UNKNOWN_FIELD | UNRECOGNIZED_STAGE) => Failure::NotSupported,
        Some(UNAUTHORIZED | AUTHENTICATION_FAILED | NO_MATCHING_DOCUMENT | NO_REPLICA_SET) => {
            Failure::Stop
        }
        Some(code) if labelled || RESUMABLE_CODES.contains(&code) => Failure::Resume,
        Some(_) => Failure::Restart,
        None if labelled => Failure::Resume,
        None => match &*error.kind {
            ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::ServerSelection { .. } => Failure::Resume,
            ErrorKind::Authentication { .. }
            | ErrorKind::InvalidTlsConfig { .. }
            | ErrorKind::InvalidArgument { .. }
            | ErrorKind::IncompatibleServer { .. } => Failure::Stop,
            _ => Failure::Restart,
        },
    }
}

/// What an error means for the reading of a chunk. A collection that goes away under the reader is no trouble: the stream is about to
/// tell.
pub(crate) fn classify_reading(error: &Error) -> Failure {
    match code(error) {
        Some(QUERY_PLAN_KILLED | CURSOR_KILLED | NAMESPACE_NOT_FOUND) => Failure::Resume,
        _ => classify(error, Phase::Open),
    }
}

/// The server's code, if the server answered.
pub(crate) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        // A login that an election interrupted is no wrong password: what the server said stands behind the driver's own words.
        ErrorKind::Authentication { .. } => {
            let source = std::error::Error::source(error)?;
            code(source.downcast_ref::<Box<Error>>()?)
        }
        _ => None,
    }
}

/// A sentence: what failed, and what to do about it.
pub(crate) fn advice(error: &Error, scope: &str) -> String {
    let said = said(error);
    let remedy = match code(error) {
        Some(NO_REPLICA_SET) => {
            "the server is no member of a replica set, so it keeps no history: start it with `--replSet rs0` and run `rs.initiate()`".to_owned()
        }
        Some(UNAUTHORIZED) => format!(
            "the user lacks a privilege: `headgate mongodb check` prints the `db.grantRolesToUser` command for {scope}"
        ),
        Some(AUTHENTICATION_FAILED) => "check user, password and `authSource` in `url`".to_owned(),
        Some(NO_MATCHING_DOCUMENT) => {
            "a pre- or post-image is required but the server has none: enable them with `db.runCommand({collMod: \"COLLECTION\", changeStreamPreAndPostImages: {enabled: true}})`, and for changes from before that use `when_available`".to_owned()
        }
        Some(280) => "the position cannot be resumed: its history is gone, it is of another deployment, or `pipeline` changed `_id`".to_owned(),
        Some(260 | 50811) => "the position is no token of this deployment: was the source pointed at another one?".to_owned(),
        Some(286 | 464) => "the oplog no longer has the changes since the position: enlarge it with `db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 48})`".to_owned(),
        Some(UNKNOWN_FIELD | UNRECOGNIZED_STAGE) => {
            "the server is too old for an option or stage of this source: `headgate mongodb check` says which version it is".to_owned()
        }
        Some(_) => "if it stays, look the code up in the server's log".to_owned(),
        None => match &*error.kind {
            ErrorKind::Authentication { .. } => "check user, password and `authSource` in `url`".to_owned(),
            ErrorKind::InvalidTlsConfig { .. } => "check the TLS files that `url` names".to_owned(),
            ErrorKind::InvalidArgument { .. } => "correct the option in `url`".to_owned(),
            ErrorKind::IncompatibleServer { .. } => {
                "the server is too old for the driver: `headgate mongodb check` says which versions work".to_owned()
            }
            ErrorKind::DnsResolve { .. } => {
                "DNS gives no servers for `url`: `mongodb+srv://` needs an SRV record `_mongodb._tcp.HOST`; check the name and this machine's resolver, or list the members with `mongodb://`".to_owned()
            }
            ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => {
                "no member of the deployment can be reached: check that it runs, that `url` and its `replicaSet` are right, and whether it wants TLS (`tls=true`, `tlsCAFile`)".to_owned()
            }
            _ => "see the driver's message".to_owned(),
        },
    };
    format!("{scope}: {remedy} ({said})")
}

/// What the server or the driver said, short.
fn said(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(command) => {
            format!(
                "{} {}: {}",
                command.code, command.code_name, command.message
            )
        }
        ErrorKind::ServerSelection { message, .. } if let Some(members) = members(message) => {
            members
        }
        kind => {
            let mut text = kind.to_string();
            if let Some((at, _)) = text.char_indices().nth(300) {
                text.truncate(at);
            }
            text
        }
    }
}

/// What went wrong with each member, from the driver's picture of the deployment; nothing if it is drawn in some other way.
fn members(message: &str) -> Option<String> {
    let members: Vec<_> = message
        .split("Address: ")
        .skip(1)
        .filter_map(|member| {
            let (address, rest) = member.split_once(',')?;
            let (_, error) = rest.split_once("Error: Kind: ")?;
            let end = error.find(", labels:").unwrap_or(error.len());
            Some(format!("{address}: {}", &error[..end]))
        })
        .collect();
    (!members.is_empty()).then(|| members.join("; "))
}

/// Waits that grow from a tenth of a second to half a minute, each a random part of its length, so that many sources do not come
/// back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = Self::FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since something worked.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_with_their_errors_alone() {
        let drawn = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ \
            { Address: a:1, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {\"RetryableError\"}, source: None, server response: None }, \
            { Address: b:2, Type: Unknown, Error: Kind: I/O error: timed out, labels: {}, source: None, server response: None } ] }";
        assert_eq!(
            members(drawn).unwrap(),
            "a:1: I/O error: Connection refused (os error 111); b:2: I/O error: timed out"
        );
        assert_eq!(members("no servers at all"), None);
    }

    #[test]
    fn waits_grow_and_end() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] >= Duration::from_millis(50) && waits[0] <= Duration::from_millis(100));
        assert!(waits[19] >= Duration::from_secs(15) && waits[19] <= Duration::from_secs(30));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
