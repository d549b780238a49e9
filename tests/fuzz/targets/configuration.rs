#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge_agent_fuzz::configuration::try_one(input));
