//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::tree::Place;

/// Everything that is wrong with a configuration, ordered by place.
///
/// Printed one finding a line: `headgate.yaml:12:5: sources.github.secret: unknown key; did you mean `secrets`?`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    findings: Vec<Finding>,
}

/// One thing that is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as it was named on the command line.
    pub file: PathBuf,
    /// Line, from one; zero when the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from one; zero when the file as a whole is meant.
    pub column: usize,
    /// The key's path, such as `sources.github.secrets[0]`; empty for the whole file.
    pub path: String,
    /// What is wrong and what to write instead. Never holds a secret.
    pub message: String,
}

impl ConfigError {
    /// An error of these findings, in any order.
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        sort(&mut findings);
        Self { findings }
    }

    /// All of them, ordered by place.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// Orders by place and drops what was found twice.
pub(super) fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        (a.line, a.column, &a.path, &a.message).cmp(&(b.line, b.column, &b.path, &b.message))
    });
    findings.dedup();
}

impl Finding {
    pub(super) fn new(
        file: impl Into<PathBuf>,
        place: Place,
        path: String,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            line: place.line,
            column: place.column,
            path,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        match self.path.as_str() {
            "" => write!(f, ": {}", self.message),
            path => write!(f, ": {path}: {}", self.message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.findings.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
