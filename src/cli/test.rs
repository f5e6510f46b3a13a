//! `headgate test`

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Context;
use super::exit::{Done, Failure};
use super::output::{Colour, Output};
use crate::config::{Loader, document};
use crate::trial::{Case, CaseFile, Failed, Outcome, Report, Trial, compare, diff, junit};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files of cases; every `*.test.yaml` beside the configuration if none is named.
    cases: Vec<PathBuf>,
    /// Runs only cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Shows the events after each step.
    #[arg(long)]
    steps: bool,
    /// Also writes the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let loaded = Loader::new().load(&context.file)?;
    let trial = Trial::new(&loaded.config);
    let files = if args.cases.is_empty() {
        beside(&context.file)?
    } else {
        args.cases.clone()
    };
    let mut reports = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::failed(format!(
                "cannot read the cases in {}: {error}",
                file.display()
            ))
        })?;
        let cases: CaseFile = document(file, &text).map_err(|error| Failure {
            code: super::exit::WRONG,
            message: Some(format!("the cases are wrong\n{error}")),
        })?;
        let wanted = |case: &&Case| {
            args.filter
                .as_ref()
                .is_none_or(|filter| case.name.contains(filter.as_str()))
        };
        for case in cases.tests.iter().filter(wanted) {
            reports.push(try_case(&trial, file, case, args.steps, context)?);
        }
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, junit(&reports)).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    let failed = reports
        .iter()
        .filter(|report| report.result.is_err())
        .count();
    let summary = format!("{} passed, {failed} failed", reports.len() - failed);
    if failed > 0 {
        context
            .out
            .line(&context.out.paint(Colour::Bad, &summary))?;
        return Err(Failure::wrong());
    }
    if reports.is_empty() {
        return Err(Failure::usage(
            "there are no cases to run; name a file, or loosen `--filter`",
        ));
    }
    Ok(context
        .out
        .line(&context.out.paint(Colour::Good, &summary))?)
}

/// `*.test.yaml` and `*.test.yml` in the folder of the configuration, sorted.
fn beside(config: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = match config.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let cannot = |error| {
        Failure::failed(format!(
            "cannot read the folder {}: {error}",
            folder.display()
        ))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.ends_with(".test.yaml") || name.ends_with(".test.yml") {
            files.push(path);
        }
    }
    files.sort();
    // Several configurations may share a folder: the one that is named like its cases has only those.
    let stem = config
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let own = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.strip_prefix(stem)
            .is_some_and(|rest| rest.starts_with(".test."))
    };
    if files.iter().any(own) {
        files.retain(own);
    }
    if files.is_empty() {
        return Err(Failure::usage(format!(
            "there is no `*.test.yaml` beside {}; write one, or name a file of cases",
            config.display()
        )));
    }
    Ok(files)
}

fn try_case(
    trial: &Trial<'_>,
    file: &Path,
    case: &Case,
    steps: bool,
    context: &Context,
) -> Result<Report, Failure> {
    let started = Instant::now();
    let folder = file.parent().unwrap_or(Path::new(""));
    let outcome = trial.run(case, folder);
    let result = match &outcome {
        Ok(outcome) => compare(&case.expect, outcome).map_err(Failed::Mismatch),
        Err(error) => Err(Failed::Error(error.to_string())),
    };
    let report = Report {
        file: file.display().to_string(),
        name: case.name.clone(),
        result,
        took: started.elapsed(),
    };
    let shown_steps = outcome.as_ref().ok().filter(|_| steps);
    for line in lines(context.out, &report, shown_steps) {
        context.out.line(&line)?;
    }
    Ok(report)
}

/// What is told about a case: the verdict, the events after each step if they are wanted, and what is wrong.
fn lines(out: Output, report: &Report, steps: Option<&Outcome>) -> Vec<String> {
    let verdict = match report.result {
        Ok(()) => out.paint(Colour::Good, "pass"),
        Err(_) => out.paint(Colour::Bad, "FAIL"),
    };
    let file = out.paint(Colour::Quiet, &report.file);
    let mut lines = vec![format!("{verdict} {file} {}", report.name)];
    if let Some(outcome) = steps {
        show_steps(outcome, out, &mut lines);
    }
    match &report.result {
        Ok(()) => {}
        Err(Failed::Error(message)) => lines.push(format!("     {message}")),
        Err(Failed::Mismatch(mismatch)) => {
            lines.push(format!(
                "     {} expected, {} came",
                out.paint(Colour::Bad, "-"),
                out.paint(Colour::Good, "+")
            ));
            lines.extend(diff(mismatch).into_iter().map(|(sign, line)| {
                let line = format!("   {sign} {line}");
                match sign {
                    '-' => out.paint(Colour::Bad, &line),
                    '+' => out.paint(Colour::Good, &line),
                    _ => line,
                }
            }));
        }
    }
    lines
}

fn show_steps(outcome: &Outcome, out: Output, lines: &mut Vec<String>) {
    // Behind the last one, the route, events are records of sinks.
    for (index, seen) in outcome.seen.iter().enumerate() {
        lines.push(format!("  {}", out.paint(Colour::Attention, &seen.step)));
        for letter in &seen.dead_letters {
            let text = format!("dead letter: {}: {}", letter.reason, letter.message);
            let text = text.replace('\n', "\n    ");
            lines.push(format!("    {}", out.paint(Colour::Bad, &text)));
        }
        for event in &seen.events {
            let mut line = Vec::new();
            headgate_sdk::envelope::json::write(event, &mut line);
            lines.push(format!("    {}", String::from_utf8_lossy(&line)));
        }
        let routed = index + 1 >= outcome.seen.len();
        if seen.events.is_empty() && seen.dead_letters.is_empty() && !routed {
            let nothing = out.paint(Colour::Quiet, "nothing left here");
            lines.push(format!("    {nothing}"));
        }
    }
    for (sink, records) in &outcome.sinks {
        for record in records {
            let key = record.key.as_deref().unwrap_or("(none)");
            let text = format!("{sink}: topic {}, key {key}", record.topic);
            lines.push(format!("  {}", out.paint(Colour::Good, &text)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Mismatch;

    /// The escape sequences of a terminal as words.
    fn spelt(lines: &[String]) -> String {
        let colours = [
            ("\u{1b}[32m", "<green>"),
            ("\u{1b}[31m", "<red>"),
            ("\u{1b}[2m", "<dim>"),
            ("\u{1b}[0m", "</>"),
        ];
        colours.iter().fold(lines.join("\n"), |text, (code, word)| {
            text.replace(code, word)
        })
    }

    #[test]
    fn a_difference_is_coloured_on_a_terminal() {
        let report = Report {
            file: "a.test.yaml".into(),
            name: "orders go to main".into(),
            result: Err(Failed::Mismatch(Mismatch {
                expected: "{\n  \"key\": \"1\"\n}\n".into(),
                actual: "{\n  \"key\": \"2\"\n}\n".into(),
            })),
            took: std::time::Duration::ZERO,
        };
        let terminal = Output {
            is_terminal: true,
            colours: true,
        };
        insta::assert_snapshot!(spelt(&lines(terminal, &report, None)), @r#"
        <red>FAIL</> <dim>a.test.yaml</> orders go to main
             <red>-</> expected, <green>+</> came
             {
        <red>   -   "key": "1"</>
        <green>   +   "key": "2"</>
             }
        "#);
        let pipe = Output {
            is_terminal: false,
            colours: false,
        };
        assert!(!lines(pipe, &report, None).join("").contains('\u{1b}'));
    }
}
