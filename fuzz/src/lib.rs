//! What the fuzzers do with their bytes. The functions live where the ordinary tests reach them too.

#[path = "../../tests/it/fuzzed/targets.rs"]
pub mod targets;
