//! The embedded single-node broker: Kafka's protocol over plain files.
