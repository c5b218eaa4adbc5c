//! The long proofs: what takes minutes to say with certainty, and a shortened form of each that `./test` runs.
//!
//! A long form is one command, which goes on where it stopped and leaves its figures in `docs/proofs/NAME.md`:
//!
//! `cargo test --profile perf -p pipette --test it -- proofs::kills --ignored --nocapture`
//!
//! `frame.rs` has the rounds, the state between runs and the figures. docs/proofs/README.md says what each proof proves.

mod claim_check;
mod claim_kills;
mod claim_speed;
mod edge;
mod exactly_once;
mod frame;
mod kills;
mod large_files;
mod latency;
mod machine;
mod mqtt;
mod mqtt_speed;
mod network;
mod pieces;
mod place;
mod poison;
mod replay;
mod site;
mod soak;
mod tally;
mod thousand;
mod torn;
