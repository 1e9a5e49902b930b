//! Bytes and their meaning. No I/O, no clock.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod envelope;
pub mod json;
pub mod resp;
