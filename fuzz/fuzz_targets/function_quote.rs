#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmail_fuzz::function::fuzz_quote(data));
