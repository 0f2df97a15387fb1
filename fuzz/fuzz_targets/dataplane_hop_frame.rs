#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmail_fuzz::dataplane::fuzz_hop_frame(data));
