//! The `headgate` binary: parses the command line and calls one function.
fn main() {}
