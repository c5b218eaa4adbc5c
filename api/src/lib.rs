//! The contract between the worker and its plugins.
