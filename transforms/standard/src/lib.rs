//! Apache Connect's transformations and predicates.
