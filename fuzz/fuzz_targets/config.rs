//! The configuration loader.

#![no_main]

#[path = "../checks/config.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::config(input));
