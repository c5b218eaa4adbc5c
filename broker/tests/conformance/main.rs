//! What a librdkafka client may expect of a Kafka broker, asked of the embedded one. Every wait has a deadline.

mod admin;
mod clients;
mod groups;
mod offsets;
mod records;
