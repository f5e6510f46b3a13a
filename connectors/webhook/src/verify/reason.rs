//! Why a request is not let in.

use super::KeyRequest;

/// What verification decided, when it is not "yes".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Decided: refuse (401).
    #[error(transparent)]
    Refused(#[from] Reason),
    /// Undecidable without a key that must be fetched first (503 if that fails).
    #[error("the vendor's key is not at hand")]
    KeyNeeded(KeyRequest),
}

/// Why a request was refused. Says nothing secret: neither keys nor expected signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// What should carry the signature is absent.
    #[error("no signature: `{0}` is missing from the request")]
    MissingSignature(String),
    /// It is there, but holds nothing that looks like a signature of this scheme.
    #[error("no usable signature in `{place}`: {wanted}")]
    UnusableSignature {
        /// Where.
        place: String,
        /// What was looked for.
        wanted: String,
    },
    /// None of the signatures fits any of the keys.
    #[error("the signature does not match ({signatures} tried against {keys} configured)")]
    Mismatch {
        /// How many signatures were in the request.
        signatures: usize,
        /// How many keys were tried, as words.
        keys: String,
    },
    /// The time of sending is absent.
    #[error("no timestamp: `{0}` is missing from the request")]
    MissingTimestamp(String),
    /// The time of sending is not readable.
    #[error("the timestamp in `{place}` is not {wanted}")]
    MalformedTimestamp {
        /// Where.
        place: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Authentic, but too old: a replay or a slow clock.
    #[error("too old: sent {age} s ago, at most {limit} s are allowed")]
    Stale {
        /// Seconds.
        age: i64,
        /// Seconds.
        limit: i64,
    },
    /// Authentic, but from the future: a clock is wrong.
    #[error(
        "from the future: sent {ahead} s ahead of this machine's clock, at most {limit} s are allowed"
    )]
    Future {
        /// Seconds.
        ahead: i64,
        /// Seconds.
        limit: i64,
    },
    /// A part of what is signed is absent.
    #[error("`{0}` is missing from the request, and it is part of what is signed")]
    MissingPart(String),
    /// A required header is absent or different.
    #[error("the header `{name}` must be `{wanted}`")]
    Required {
        /// Which.
        name: String,
        /// What it must be.
        wanted: String,
    },
    /// There is no body, and the scheme wants one.
    #[error("the body is empty")]
    EmptyBody,
    /// The public URL is part of what is signed and is not known here.
    #[error(
        "the public URL is part of what is signed: set `public_url` (on the command line: --url)"
    )]
    UrlUnknown,
    /// A parameter of the scheme is not configured.
    #[error(
        "the scheme needs the parameter `{0}` (in the configuration `params: {{ {0}: … }}`, on the command line --param {0}=…)"
    )]
    MissingParameter(String),
    /// A hash of the body (or URL) that the signature covers does not fit.
    #[error("`{0}` is not the hash of what was received")]
    HashMismatch(String),
    /// The token is not acceptable.
    #[error("the token is refused: {0}")]
    Token(String),
    /// The key that the request points at is not the vendor's.
    #[error("the key is refused: {0}")]
    ForeignKey(String),
    /// No configured key fits the scheme.
    #[error("{0}")]
    NoKey(String),
    /// Something else is malformed.
    #[error("{0}")]
    Malformed(String),
}

impl Reason {
    /// A stable word for figures and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingSignature(_) => "missing_signature",
            Self::UnusableSignature { .. } => "unusable_signature",
            Self::Mismatch { .. } => "mismatch",
            Self::MissingTimestamp(_) => "missing_timestamp",
            Self::MalformedTimestamp { .. } => "malformed_timestamp",
            Self::Stale { .. } => "stale",
            Self::Future { .. } => "future",
            Self::MissingPart(_) => "missing_part",
            Self::Required { .. } => "required_header",
            Self::EmptyBody => "empty_body",
            Self::UrlUnknown => "url_unknown",
            Self::MissingParameter(_) => "missing_parameter",
            Self::HashMismatch(_) => "hash_mismatch",
            Self::Token(_) => "token",
            Self::ForeignKey(_) => "foreign_key",
            Self::NoKey(_) => "no_key",
            Self::Malformed(_) => "malformed",
        }
    }
}
