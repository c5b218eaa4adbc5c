//! `cargo +nightly fuzz run sparkplug`; what it checks stands in `tests/it/fuzzed/targets.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pipette_fuzz::targets::sparkplug(bytes));
