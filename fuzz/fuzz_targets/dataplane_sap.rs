#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmail_dataplane::sap::fuzz::fuzz_sap(data));
