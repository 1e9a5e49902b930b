//! redmux: one connection, every conversation.
#![warn(missing_docs)]

pub mod error;
pub mod inbox;
pub mod link;
pub mod mux;
pub mod options;
pub mod proto;
pub mod sync;
pub mod sys;
