#![no_main]

#[path = "../checks/pipeline.rs"]
#[allow(dead_code, reason = "each target uses one check of the file")]
mod pipeline;

libfuzzer_sys::fuzz_target!(|input: &[u8]| pipeline::json_edit(input));
