//! Standard output: data, as a table for people or as JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Whether a person looks at it.
    pub(super) is_terminal: bool,
    pub(super) colours: bool,
}

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Good,
    Attention,
    Bad,
    Quiet,
}

impl Output {
    /// The process's own.
    pub(super) fn standard() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            is_terminal,
            // The logs of CI systems show colours and are no terminals.
            colours: (is_terminal || is_set("FORCE_COLOR")) && !is_set("NO_COLOR"),
        }
    }

    /// Writes a line.
    pub(super) fn line(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// Writes a value as JSON, indented for people.
    pub(super) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let text = if self.is_terminal {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.line(&text?)
    }

    /// `text` in a colour, where colours are shown.
    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Good => "32",
            Colour::Attention => "33",
            Colour::Bad => "31",
            Colour::Quiet => "2",
        };
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Writes rows in columns, the first row as head. The last column is as wide as it is.
    pub(super) fn table(self, rows: &[Vec<String>]) -> io::Result<()> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (n, row) in rows.iter().enumerate() {
            let mut text = String::new();
            for (column, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if column + 1 < row.len() {
                    text.extend(std::iter::repeat_n(
                        ' ',
                        widths[column] - cell.chars().count() + 2,
                    ));
                }
            }
            let text = text.trim_end();
            if n == 0 {
                self.line(&self.paint(Colour::Quiet, text))?;
            } else {
                self.line(text)?;
            }
        }
        Ok(())
    }

    /// Tells the person at the terminal something that is not data.
    pub(super) fn note(self, text: &str) {
        let _closed = io::stderr().write_all(format!("{text}\n").as_bytes());
    }
}
