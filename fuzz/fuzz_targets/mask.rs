#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| masker_fuzz::mask::check(bytes));
