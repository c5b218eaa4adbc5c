//! Flows through the worker as a library. One binary, so that it links once.

mod bed;
mod rest;
mod validate;
