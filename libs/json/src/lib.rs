//! JSON text to and from Connect values, without a tree in between.
