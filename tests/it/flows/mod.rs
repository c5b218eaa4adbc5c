//! Tasks in this process on the embedded broker: both loops with small plugins made to misbehave.
//!
//! `stage.rs` is what every flow stands on; `sources.rs` and `sinks.rs` hold the flows, `kept_in.rs` and `kept_out.rs`
//! those in which a record could get lost, `transactions.rs` those with exactly-once, `bad_input.rs` those with records
//! that nobody can read, `dead_letters.rs` and `dead_inputs.rs` those in which such records are kept. With herder and
//! REST: `healing.rs` (restarts), `hung.rs` (plugins that do not return), `silence.rs` (a Kafka that does not answer) and
//! `told.rs` (what status and log say of a failure).
//! that nobody can read, `dead_letters.rs` and `dead_inputs.rs` those in which such records are kept,
//! `targets.rs` those in which it is not the records,
//! `waiting.rs` those with steps that wait for something outside, `pieces.rs` those with several records of one and one
//! of several, `made_topics.rs` those to topics that the worker makes, `positions.rs` those about where a sink is,
//! `files.rs` those into files, `claim_check.rs` those of files around Kafka (`store_away.rs` without a store), `mqtt.rs` those with a real MQTT broker.
//! `files.rs` those into files, `claim_check.rs` and `claim_check_bucket.rs`
//! those of files around Kafka, `mqtt.rs` those with a real MQTT broker.

mod bad_input;
mod chunks;
mod claim_check;
mod claim_check_bucket;
mod claim_check_order;
mod dead_inputs;
mod dead_letters;
mod files;
mod flushes;
mod healing;
mod hung;
mod kept_in;
mod kept_out;
mod silence;
mod made_topics;
mod mqtt;
mod pieces;
mod positions;
mod sinks;
mod sources;
mod stage;
mod store_away;
mod told;
mod targets;
mod transactions;
mod waiting;
