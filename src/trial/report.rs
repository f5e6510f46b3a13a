//! What is told about cases: lines for people, JUnit for machines.

use std::fmt::Write as _;
use std::time::Duration;

use super::Mismatch;

/// How one case went.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file that holds the case.
    pub file: String,
    /// Its name.
    pub name: String,
    /// `Ok` if all was as expected.
    pub result: Result<(), Failed>,
    /// How long it took.
    pub took: Duration,
}

/// Why a case failed.
#[derive(Debug, Clone)]
pub enum Failed {
    /// Something else came out.
    Mismatch(Mismatch),
    /// It could not be tried.
    Error(String),
}

/// The lines of a difference, each with its sign: `-` expected and did not come, `+` came unexpected, a space for both.
#[must_use]
pub fn diff(mismatch: &Mismatch) -> Vec<(char, String)> {
    let diff = similar::TextDiff::from_lines(&mismatch.expected, &mismatch.actual);
    diff.iter_all_changes()
        .map(|change| {
            let sign = match change.tag() {
                similar::ChangeTag::Delete => '-',
                similar::ChangeTag::Insert => '+',
                similar::ChangeTag::Equal => ' ',
            };
            (sign, change.value().trim_end_matches('\n').to_owned())
        })
        .collect()
}

/// The reports as JUnit XML, as CI systems read it: a suite to a file.
#[must_use]
pub fn junit(reports: &[Report]) -> String {
    let failures = |reports: &[&Report]| {
        reports
            .iter()
            .filter(|report| report.result.is_err())
            .count()
    };
    let all: Vec<&Report> = reports.iter().collect();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"headgate\" tests=\"{}\" failures=\"{}\">",
        all.len(),
        failures(&all)
    );
    for suite in all.chunk_by(|a, b| a.file == b.file) {
        let file = escape(&suite[0].file);
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{}\">",
            suite.len(),
            failures(suite)
        );
        for report in suite {
            let (name, time) = (escape(&report.name), report.took.as_secs_f64());
            let _ = write!(
                xml,
                "    <testcase classname=\"{file}\" name=\"{name}\" time=\"{time:.6}\""
            );
            match &report.result {
                Ok(()) => xml.push_str("/>\n"),
                Err(failed) => {
                    let (message, text) = match failed {
                        Failed::Error(message) => (message.as_str(), message.clone()),
                        Failed::Mismatch(mismatch) => (
                            "something else came out",
                            diff(mismatch)
                                .iter()
                                .map(|(sign, line)| format!("{sign}{line}\n"))
                                .collect(),
                        ),
                    };
                    let _ = writeln!(
                        xml,
                        ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                        escape(message),
                        escape(&text)
                    );
                }
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// Text for XML; characters that XML 1.0 cannot hold become `?`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if u32::from(c) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}
