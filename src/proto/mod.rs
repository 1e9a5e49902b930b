//! Bytes and their meaning. No I/O, no clock.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod envelope;
pub mod resp;
