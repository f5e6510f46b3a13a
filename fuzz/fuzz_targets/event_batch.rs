#![no_main]

#[path = "../checks/envelope.rs"]
#[allow(dead_code, reason = "each target uses one check of the file")]
mod envelope;

libfuzzer_sys::fuzz_target!(|input: &[u8]| envelope::event_batch(input));
