//! redmux: one connection, every conversation.
#![warn(missing_docs)]

pub mod error;
pub mod options;
pub mod proto;
