//! `cargo +nightly fuzz run date_pattern`; what it checks stands in `tests/it/fuzzed/targets.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pipette_fuzz::targets::date_pattern(bytes));
