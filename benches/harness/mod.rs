//! How all benchmarks measure: CPU time (user + system) an event, of contenders in interleaved rounds of one run.
//!
//! The first contender of a comparison is the yardstick. For each round the others are divided by it, so that what slows the
//! machine for a while slows both; median, lowest and highest of the rounds' ratios are printed. A bound that lies between
//! lowest and highest is reported as open, neither kept nor missed.

#![allow(dead_code, reason = "every benchmark uses a part of it")]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What one round of one contender took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) events: u64,
}

/// A contender: its name, and one round of it.
pub(crate) type Contender<'a> = (&'a str, Box<dyn FnMut() -> Measured + 'a>);

/// A bound on the ratio to the yardstick.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// The contender costs at most so many times the yardstick's CPU.
    AtMost(f64),
    /// The contender costs at most so many microseconds of CPU an event more than the yardstick.
    AtMostOver(f64),
    /// It handles at least so many times as many events a second.
    RateAtLeast(f64),
    /// None: it is only reported.
    None,
}

/// How many rounds: `BENCH_ROUNDS`, else 10.
pub(crate) fn rounds() -> usize {
    std::env::var("BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10)
}

/// Runs the contenders in interleaved rounds and prints a table. The first one is the yardstick.
pub(crate) fn compare(title: &str, contenders: Vec<(Contender<'_>, Bound)>) {
    let mut contenders = contenders;
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); contenders.len()];
    for ((_, run), _) in &mut contenders {
        run(); // to warm up
    }
    for _ in 0..rounds() {
        for (index, ((_, run), _)) in contenders.iter_mut().enumerate() {
            measured[index].push(run());
        }
    }
    println!(
        "\n{title} ({} interleaved rounds; median, lowest to highest)",
        rounds()
    );
    println!("| | CPU µs an event | ratio | events/s | bound |");
    println!("|---|---|---|---|---|");
    let yardstick: Vec<f64> = measured[0].iter().map(per_event).collect();
    for (index, ((name, _), bound)) in contenders.iter().enumerate() {
        let cpu = Spread::of(measured[index].iter().map(per_event).collect());
        let ratios = measured[index]
            .iter()
            .zip(&yardstick)
            .map(|(m, y)| per_event(m) / y)
            .collect();
        let ratio = Spread::of(ratios);
        let over = measured[index].iter().zip(&yardstick);
        let over = Spread::of(over.map(|(m, y)| per_event(m) - y).collect());
        let rate = Spread::of(measured[index].iter().map(per_second).collect());
        let rates = measured[index].iter().zip(&measured[0]);
        let relative = Spread::of(rates.map(|(m, y)| per_second(m) / per_second(y)).collect());
        let verdict = match bound {
            Bound::None => String::new(),
            Bound::AtMost(most) if ratio.highest <= *most => format!("at most {most}: kept"),
            Bound::AtMost(most) if ratio.lowest > *most => format!("at most {most}: MISSED"),
            Bound::AtMost(most) => format!("at most {most}: open, inside the spread"),
            Bound::AtMostOver(most) => format!(
                "{:.2} ({:.2}–{:.2}) µs over the yardstick, at most {most}: {}",
                over.median,
                over.lowest,
                over.highest,
                if over.highest <= *most {
                    "kept"
                } else if over.lowest > *most {
                    "MISSED"
                } else {
                    "open, inside the spread"
                }
            ),
            Bound::RateAtLeast(least) => {
                let word = match () {
                    () if relative.lowest >= *least => "kept",
                    () if relative.highest < *least => "MISSED",
                    () => "open, inside the spread",
                };
                format!(
                    "rate at least {least}: {word} ({:.2}, {:.2}–{:.2})",
                    relative.median, relative.lowest, relative.highest
                )
            }
        };
        println!(
            "| {name} | {:.2} ({:.2}–{:.2}) | {:.2} ({:.2}–{:.2}) | {:.0} | {verdict} |",
            cpu.median,
            cpu.lowest,
            cpu.highest,
            ratio.median,
            ratio.lowest,
            ratio.highest,
            rate.median
        );
    }
}

/// Measures a closure that handles `events` in this process.
pub(crate) fn measure(events: u64, work: impl FnOnce()) -> Measured {
    let (cpu, started) = (cpu_of_self(), Instant::now());
    work();
    Measured {
        cpu: cpu_of_self() - cpu,
        wall: started.elapsed(),
        events,
    }
}

/// Starts this binary once more, with these arguments, and waits for the first line that it prints.
pub(crate) fn start_self(arguments: &[&OsStr]) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs");
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it prints a line");
    (child, line.trim().to_owned())
}

/// CPU time of this process so far, all threads, user and system: to the nanosecond.
pub(crate) fn cpu_of_self() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

/// CPU time of another process so far, all threads, user and system: as of the scheduler's last tick.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs, on Linux");
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The value below which `percent` of `values` lie.
pub(crate) fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values[rank - 1]
}

fn per_event(measured: &Measured) -> f64 {
    measured.cpu.as_secs_f64() * 1e6 / measured.events as f64
}

fn per_second(measured: &Measured) -> f64 {
    measured.events as f64 / measured.wall.as_secs_f64()
}

struct Spread {
    lowest: f64,
    median: f64,
    highest: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            lowest: values[0],
            median: values[values.len() / 2],
            highest: values[values.len() - 1],
        }
    }
}
