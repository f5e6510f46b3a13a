//! The `headgate` binary: parses the command line and calls one function.

use std::process::ExitCode;

fn main() -> ExitCode {
    headgate::cli::main(std::env::args_os())
}
